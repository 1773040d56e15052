"""What every command rests on: consoles, common options, the client, a job that is followed to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from app import console as show
from app.address import address
from app.client import Client
from app.errors import NotFound, WasserscopeError
from app.schemas.job import Job, JobState
from app.settings import Settings

out = Console()
err = Console(stderr=True)

Url = Annotated[
    str | None, typer.Option(help="Address of the service; by default WASSERSCOPE_HOST and WASSERSCOPE_PORT.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunName = Annotated[str, typer.Argument(help="The run's id, or latest.")]


def settings(**given: Any) -> Settings:
    """Settings of the environment, with the options that were given on top."""
    return Settings(**{name: value for name, value in given.items() if value is not None})


def client(settings: Settings, url: str | None) -> Client:
    """A client of the service at `url`, or where the settings say."""
    token = settings.token.get_secret_value() if settings.token else None
    return Client(url or address(settings), token)


def run_id(client: Client, run: str) -> str:
    """The id of the run that was named; `latest` is the newest."""
    if run != "latest":
        return run
    found = client.runs(limit=1).items
    if not found:
        raise NotFound("There is no run yet.", hint="Start one with: wasserscope explore demo")
    return found[0].id


def follow(client: Client, job: Job | None, *, quiet: bool, pause: Callable[[], None] | None = None) -> None:
    """Show a job until it has finished; nothing when there is none. Exit code 1 when it does not finish.

    quiet: what it shows goes to the error stream, so that only the result is on the other.
    """
    if job is None:
        return
    try:
        ended = show.follow(client, job, err if quiet else out, pause)
    except KeyboardInterrupt:
        if pause is None:  # the service runs on without this command
            hint = f"The job goes on. Stop it with: wasserscope cancel {job.id}"
            err.print(hint, markup=False, highlight=False, soft_wrap=True)
        raise
    _check(ended)


def _check(job: Job) -> None:
    """Exit code 1, whatever the problem, when the job did not finish: the request itself was in order."""
    if job.state is JobState.finished:
        return
    stopped = WasserscopeError(
        f"Job '{job.id}' is {job.state}.", hint="Submit it again: it goes on where it stopped."
    )
    show.explain(job.problem.to_error() if job.problem is not None else stopped, err)
    raise typer.Exit(1)
