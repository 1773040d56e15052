"""Commands about jobs: listed, cancelled, tried again."""

from __future__ import annotations

from typing import Annotated

import typer

from app import console as show
from app.cli import base
from app.cli.base import Json, Url, err, out
from app.settings import Settings


def jobs(url: Url = None, json: Json = False) -> None:
    """List jobs, the newest first."""
    with base.client(Settings(), url) as client:
        page = client.jobs()
        if json:
            show.as_json(page, out)
            return
        for job in page.items:
            out.print(
                f"{job.id}  {job.state}  {job.progress.fraction:4.0%}  {job.progress.phase}", highlight=False
            )


def cancel(job: Annotated[str, typer.Argument(help="The job's id.")], url: Url = None) -> None:
    """Cancel a job and wait until its worker is free."""
    with base.client(Settings(), url) as client:
        ended = show.follow(client, client.cancel(job), err)
        out.print(f"{ended.id}: {ended.state}", highlight=False)


def retry(job: Annotated[str, typer.Argument(help="The job's id.")], url: Url = None) -> None:
    """Try a failed or cancelled job again and follow it; it goes on where it stopped."""
    with base.client(Settings(), url) as client:
        base.follow(client, client.retry(job), quiet=False)
