"""The command line. Exit codes: 0 done, 1 failed, 2 the request was wrong, 3 a service could not be reached, 130 interrupted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from app import console as show
from app.address import address
from app.client import Client
from app.errors import WasserscopeError
from app.schemas.job import Job, JobState
from app.schemas.run import Run, RunRequest
from app.settings import Settings
from app.supervisor import Instance

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="See which neurons of a language model are entangled. Start with: wasserscope up --explore demo",
)
out = Console()
err = Console(stderr=True)

Url = Annotated[
    str | None, typer.Option(help="Address of the service; by default WASSERSCOPE_HOST and WASSERSCOPE_PORT.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_UNREACHABLE = {"api-unreachable", "queue-unavailable", "hub-unreachable", "store"}
_WRONG = {
    "invalid-request",
    "model",
    "model-not-found",
    "corpus",
    "not-found",
    "unsafe-file",
    "too-large",
    "port-taken",
    "conflict",
}


@app.command()
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
    settings = _settings(
        host=host, port=port, store=store, workers=workers, redis_url=redis_url, device=device
    )
    request = _Ask(model=explore) if explore else None
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
                _explore_and_show(instance, request)
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


@app.command()
def worker(
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Redis of the queue.")] = None,
    store: Annotated[str | None, typer.Option(help="Folder or URL where runs are kept.")] = None,
) -> None:
    """Start one worker on one device, for a Redis and a store that it shares with the service.

    Example: wasserscope worker --device cuda:1 --redis-url redis://queue:6379/0 --store s3://bucket/runs
    """
    settings = _settings(device=device, redis_url=redis_url, store=store)
    # Become the worker: its signals and exit code are then this command's own.
    os.execve(
        sys.executable, [sys.executable, "-P", "-m", "worker.main"], {**os.environ, **settings.to_env()}
    )


@app.command()
def explore(
    model: Annotated[str, typer.Argument(help="demo, hub:org/name@revision, path:folder or gguf:file.gguf")],
    corpus: Annotated[
        str, typer.Option(help="python-docs, hub:wikitext2, hub:c4 or file:name.txt")
    ] = "python-docs",
    tokens: Annotated[int, typer.Option(help="Tokens from the start of the corpus.")] = 8192,
    window: Annotated[
        int | None,
        typer.Option(help="Tokens of one window; by default 512, or the model's context if shorter."),
    ] = None,
    pairs: Annotated[int, typer.Option(help="Pairs of tokens for MD.")] = 50_000,
    seed: Annotated[int, typer.Option(help="Seed of pairs and random tokens.")] = 0,
    limit: Annotated[int, typer.Option(help="Neurons to print.")] = 10,
    url: Url = None,
    json: Json = False,
) -> None:
    """Capture and score a model: submit, follow, print the most entangled neurons.

    Example: wasserscope explore hub:EleutherAI/pythia-70m --tokens 16384
    """
    request = _Ask(model=model, corpus=corpus, tokens=tokens, pairs=pairs, seed=seed, window=window)
    settings = Settings()
    with _client(settings, url) as client:
        run = _finished(client, request.on(client), quiet=json)
        rows = client.neurons(run.id, sort="-wd", limit=limit)
        if json:
            show.as_json(rows, out)
        else:
            show.print_neurons(out, rows.items, run, url or address(settings))


@app.command()
def neurons(
    run: Annotated[str, typer.Argument(help="The run's id.")],
    sort: Annotated[str, typer.Option(help="Column; - before it for the highest first.")] = "-wd",
    layer: Annotated[int | None, typer.Option(help="Only this block.")] = None,
    projection: Annotated[str | None, typer.Option(help="Only this projection.")] = None,
    limit: Annotated[int, typer.Option(help="Rows.")] = 20,
    url: Url = None,
    json: Json = False,
) -> None:
    """List neurons of a run. Example: wasserscope neurons RUN --sort=-md --layer 15"""
    settings = Settings()
    with _client(settings, url) as client:
        page = client.neurons(run, sort=sort, layer=layer, projection=projection, limit=limit)
        if json:
            show.as_json(page, out)
        else:
            show.print_neurons(out, page.items, client.run(run), url or address(settings))


@app.command()
def jobs(url: Url = None, json: Json = False) -> None:
    """List jobs, the newest first."""
    with _client(Settings(), url) as client:
        page = client.jobs()
        if json:
            show.as_json(page, out)
            return
        for job in page.items:
            out.print(
                f"{job.id}  {job.state}  {job.progress.fraction:4.0%}  {job.progress.phase}", highlight=False
            )


@app.command()
def cancel(job: Annotated[str, typer.Argument(help="The job's id.")], url: Url = None) -> None:
    """Cancel a job and wait until its worker is free."""
    with _client(Settings(), url) as client:
        ended = show.follow(client, client.cancel(job), err)
        out.print(f"{ended.id}: {ended.state}", highlight=False)


@app.command()
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


class _Ask:
    """A request whose window may be left to the model."""

    def __init__(self, *, window: int | None = None, **values: Any) -> None:
        self._window = window
        self._request = RunRequest(**values) if window is None else RunRequest(window=window, **values)

    def on(self, client: Client) -> RunRequest:
        """The request, with a window that the model can take where none was given."""
        if self._window is not None:
            return self._request
        context = client.inspect(self._request.model, tokens=self._request.tokens, window=2).context_length
        fitting = min(self._request.window, context, self._request.tokens)
        return self._request.model_copy(update={"window": fitting})


def _explore_and_show(instance: Instance, request: _Ask) -> None:
    with instance.client() as client:
        run = _finished(client, request.on(client), pause=instance.tick)
        rows = client.neurons(run.id, sort="-wd", limit=10).items
        show.print_neurons(out, rows, run, instance.url)


def _finished(
    client: Client, request: RunRequest, *, quiet: bool = False, pause: Callable[[], None] | None = None
) -> Run:
    submitted = client.submit(request)
    if submitted.job is not None:
        try:
            ended = show.follow(client, submitted.job, err if quiet else out, pause)
        except KeyboardInterrupt:
            if pause is None:  # the service runs on without this command
                hint = f"The job goes on. Stop it with: wasserscope cancel {submitted.job.id}"
                err.print(hint, markup=False, highlight=False, soft_wrap=True)
            raise
        _check(ended)
    return client.run(submitted.run.id)


def _check(job: Job) -> None:
    """Exit code 1, whatever the problem, when the job did not finish: the request itself was in order."""
    if job.state is JobState.finished:
        return
    stopped = WasserscopeError(
        f"Job '{job.id}' is {job.state}.", hint="Submit it again: it goes on where it stopped."
    )
    show.explain(job.problem.to_error() if job.problem is not None else stopped, err)
    raise typer.Exit(1)


def _settings(**given: Any) -> Settings:
    """Settings of the environment, with the options that were given on top."""
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _client(settings: Settings, url: str | None) -> Client:
    token = settings.token.get_secret_value() if settings.token else None
    return Client(url or address(settings), token)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _code(error: WasserscopeError) -> int:
    return 3 if error.code in _UNREACHABLE else 2 if error.code in _WRONG else 1


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors become sentences and exit codes."""
    try:
        app(arguments, standalone_mode=True)
    except WasserscopeError as error:
        show.explain(error, err)
        sys.exit(_code(error))
    except ValidationError as error:
        for item in error.errors():
            err.print(
                f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}",
                style="bold red",
                markup=False,
            )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
