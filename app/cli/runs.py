"""Commands about runs: explored, their neurons listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from app import console as show
from app.address import address
from app.cli import base
from app.cli.base import Json, RunName, Url, out
from app.client import Client
from app.schemas.run import Run, RunRequest
from app.settings import Settings
from app.supervisor import Instance


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
    request = Ask(model=model, corpus=corpus, tokens=tokens, pairs=pairs, seed=seed, window=window)
    settings = Settings()
    with base.client(settings, url) as client:
        run = finished(client, request.on(client), quiet=json)
        rows = client.neurons(run.id, sort="-wd", limit=limit)
        if json:
            show.as_json(rows, out)
        else:
            show.print_neurons(out, rows.items, run, url or address(settings))


def neurons(
    run: RunName,
    sort: Annotated[str, typer.Option(help="Column; - before it for the highest first.")] = "-wd",
    layer: Annotated[int | None, typer.Option(help="Only this block.")] = None,
    projection: Annotated[str | None, typer.Option(help="Only this projection.")] = None,
    limit: Annotated[int, typer.Option(help="Rows.")] = 20,
    url: Url = None,
    json: Json = False,
) -> None:
    """List neurons of a run. Example: wasserscope neurons RUN --sort=-md --layer 15"""
    settings = Settings()
    with base.client(settings, url) as client:
        run = base.run_id(client, run)
        page = client.neurons(run, sort=sort, layer=layer, projection=projection, limit=limit)
        if json:
            show.as_json(page, out)
        else:
            show.print_neurons(out, page.items, client.run(run), url or address(settings))


class Ask:
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


def explore_and_show(instance: Instance, request: Ask) -> None:
    """Explore on an instance that this process supervises, and print the neurons."""
    with instance.client() as client:
        run = finished(client, request.on(client), pause=instance.tick)
        rows = client.neurons(run.id, sort="-wd", limit=10).items
        show.print_neurons(out, rows, run, instance.url)


def finished(
    client: Client, request: RunRequest, *, quiet: bool = False, pause: Callable[[], None] | None = None
) -> Run:
    """The finished run of a request, submitted and followed to its end."""
    submitted = client.submit(request)
    base.follow(client, submitted.job, quiet=quiet, pause=pause)
    return client.run(submitted.run.id)
