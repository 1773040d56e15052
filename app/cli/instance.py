"""Commands about this machine: everything at once, a worker, what is missing."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from app import console as show
from app.cli import base
from app.cli.base import Json, err, out
from app.cli.runs import Ask, explore_and_show
from app.settings import Settings
from app.supervisor import Instance


def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of dashboard and API.")] = None,
    store: Annotated[str | None, typer.Option(help="Folder or URL where runs are kept.")] = None,
    workers: Annotated[int | None, typer.Option(help="Workers to start.")] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Redis to use instead of the embedded Valkey.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Device of the workers: auto, cpu, cuda, cuda:1 or mps.")
    ] = None,
    explore: Annotated[str | None, typer.Option(help="Model to explore at once, for example demo.")] = None,
) -> None:
    """Start everything on this machine: queue server, dashboard with API, workers. Ctrl-C ends all of it.

    Example: wasserscope up --port 8001 --store ./runs --explore demo
    """
    settings = base.settings(
        host=host, port=port, store=store, workers=workers, redis_url=redis_url, device=device
    )
    request = Ask(model=explore) if explore else None
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # SIGINT too: in the background it is ignored
        signal.signal(number, _interrupt)
    instance = Instance(
        settings, say=lambda text: err.print(text, style="yellow", markup=False, soft_wrap=True)
    )
    try:
        with instance:
            out.print(
                f"Starting Wasserscope; runs are kept in {settings.store}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            instance.wait_until_ready(workers=request is None)  # a finished run needs none
            if request is not None:
                explore_and_show(instance, request)
            out.print(
                f"\nDashboard: {instance.url}   API: {instance.url}/api/docs   Ctrl-C ends it.",
                highlight=False,
                soft_wrap=True,
            )
            while True:
                instance.tick()
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # everything has ended: there is nothing more to interrupt
        out.print("Ended. The runs stay in the store.", highlight=False)


def worker(
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Redis of the queue.")] = None,
    store: Annotated[str | None, typer.Option(help="Folder or URL where runs are kept.")] = None,
) -> None:
    """Start one worker on one device, for a Redis and a store that it shares with the service.

    Example: wasserscope worker --device cuda:1 --redis-url redis://queue:6379/0 --store s3://bucket/runs
    """
    settings = base.settings(device=device, redis_url=redis_url, store=store)
    # Become the worker: its signals and exit code are then this command's own.
    os.execve(
        sys.executable, [sys.executable, "-P", "-m", "worker.main"], {**os.environ, **settings.to_env()}
    )


def doctor(json: Json = False) -> None:
    """Check what an instance needs on this machine, and say what to do about what is missing.

    Exit code 1 when something needed does not work.
    """
    from app import doctor as checks

    findings = checks.examine(Settings())
    if json:
        out.print_json(findings.model_dump_json())
    else:
        show.print_findings(findings, out)
    if not findings.ok:
        raise typer.Exit(1)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
