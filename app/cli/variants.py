"""Commands about what is made from a run: pruned, expanded, evaluated, exported."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app import console as show
from app.cli import base, tables
from app.cli.base import Json, RunName, Url, out
from app.client import Client
from app.errors import InvalidRequest
from app.schemas.evaluation import EvaluationRequest
from app.schemas.expansion import Clusters, ExpansionRequest
from app.schemas.model import Estimate
from app.schemas.pruning import Method, PruningRequest
from app.schemas.variant import Coverage, Variant
from app.settings import Settings

Sparsity = Annotated[
    float | None, typer.Option(help="Share of weights set to 0, from 0 to 1; by default 0.5.")
]
Pattern = Annotated[str | None, typer.Option(help="N:M, for example 2:4, instead of --sparsity.")]
Layers = Annotated[list[int] | None, typer.Option("--layer", help="Only this block; may be repeated.")]
Projections = Annotated[
    list[str] | None, typer.Option("--projection", help="Only this projection; may be repeated.")
]
Bits = Annotated[int | None, typer.Option(help="Round the weights that stay to a grid of 2^bits, 2 to 8.")]
PerRow = Annotated[bool, typer.Option("--per-row", help="The same number of zeros in every neuron.")]
Propagate = Annotated[
    bool, typer.Option("--propagate", help="Whole model in sequence, each block fed by the changed ones.")
]
NoCompare = Annotated[
    bool, typer.Option("--no-compare", help="Only the weights, without comparing outputs: faster.")
]
OnlyEstimate = Annotated[bool, typer.Option("--estimate", help="Say what it would take, and do nothing.")]


def prune(
    run: RunName,
    sparsity: Sparsity = None,
    pattern: Pattern = None,
    method: Annotated[Method, typer.Option(help="Which weights go.")] = Method.sparsegpt,
    layer: Layers = None,
    projection: Projections = None,
    bits: Bits = None,
    per_row: PerRow = False,
    propagate: Propagate = False,
    no_compare: NoCompare = False,
    estimate: OnlyEstimate = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Prune layers of a finished run: submit, follow, print each layer's zeros and error.

    Example: wasserscope prune latest --sparsity 0.9 --layer 15 --projection up_proj
    """
    given = {"bits": bits, "per_row": per_row, "propagate": propagate, "compare": not no_compare}
    request = PruningRequest(
        method=method, layers=layer, projections=projection, **_amount(sparsity, pattern), **given
    )
    with base.client(Settings(), url) as client:
        run = base.run_id(client, run)
        if estimate:
            _print_estimate(client.estimate_pruning(run, request), json)
            return
        submitted = client.prune(run, request)
        base.follow(client, submitted.job, quiet=json)
        _print(client.pruning(run, submitted.pruning.id), request, json)


def expand(
    run: RunName,
    experts: Annotated[int, typer.Option(help="Experts of each layer.")] = 16,
    sparsity: Sparsity = None,
    pattern: Pattern = None,
    reduction: Annotated[
        int, typer.Option(help="Inputs are reduced to width // reduction components before clustering.")
    ] = 32,
    clusters: Annotated[Clusters, typer.Option(help="How tokens are dealt.")] = Clusters.kmeans,
    seed: Annotated[int, typer.Option(help="Seed of PCA and clusters.")] = 0,
    layer: Layers = None,
    projection: Projections = None,
    bits: Bits = None,
    per_row: PerRow = False,
    propagate: Propagate = False,
    no_compare: NoCompare = False,
    estimate: OnlyEstimate = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Replace layers of a finished run by mixtures of sparse experts: submit, follow, print each layer's error.

    Example: wasserscope expand latest --experts 16 --sparsity 0.9 --layer 15 --projection up_proj
    """
    given = {"bits": bits, "per_row": per_row, "propagate": propagate, "compare": not no_compare}
    request = ExpansionRequest(
        experts=experts,
        reduction=reduction,
        clusters=clusters,
        seed=seed,
        layers=layer,
        projections=projection,
        **_amount(sparsity, pattern),
        **given,
    )
    with base.client(Settings(), url) as client:
        run = base.run_id(client, run)
        if estimate:
            _print_estimate(client.estimate_expansion(run, request), json)
            return
        submitted = client.expand(run, request)
        base.follow(client, submitted.job, quiet=json)
        _print(client.expansion(run, submitted.expansion.id), request, json)


def evaluate(
    run: RunName,
    variants: Annotated[
        list[str] | None, typer.Argument(help="Prunings and expansions; the dense model always is.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens from the corpus' end.")] = 8192,
    window: Annotated[int, typer.Option(help="Tokens of one window.")] = 512,
    corpus: Annotated[str | None, typer.Option(help="Corpus; by default the run's own.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    url: Url = None,
    json: Json = False,
) -> None:
    """Perplexity on held-out text, of the dense model and of prunings and expansions.

    Example: wasserscope evaluate latest p-4f1c2a9be0d7 x-0123456789ab --tokens 8192
    """
    request = EvaluationRequest(
        variants=variants or [], corpus=corpus, tokens=tokens, window=window, seed=seed
    )
    with base.client(Settings(), url) as client:
        run = base.run_id(client, run)
        submitted = client.evaluate(run, request)
        base.follow(client, submitted.job, quiet=json)
        found = client.evaluation(run, submitted.evaluation.id)
        if json:
            show.as_json(found, out)
        else:
            tables.print_evaluation(out, found)


def export(
    run: RunName,
    variant: Annotated[str, typer.Argument(help="The pruning or expansion.")],
    url: Url = None,
    json: Json = False,
) -> None:
    """Write a pruned or expanded model as a folder, and print where.

    Example: wasserscope export latest p-4f1c2a9be0d7
    """
    with base.client(Settings(), url) as client:
        run = base.run_id(client, run)
        base.follow(client, client.export(run, variant), quiet=json)
        found = _variant(client, run, variant)
        if json:
            show.as_json(found, out)
        else:
            out.print(found.export or "", markup=False, highlight=False, soft_wrap=True)


def prunings(run: RunName, url: Url = None, json: Json = False) -> None:
    """List prunings of a run, the newest first."""
    with base.client(Settings(), url) as client:
        page = client.prunings(base.run_id(client, run))
        if json:
            show.as_json(page, out)
        else:
            tables.print_variants(out, page.items)


def expansions(run: RunName, url: Url = None, json: Json = False) -> None:
    """List expansions of a run, the newest first."""
    with base.client(Settings(), url) as client:
        page = client.expansions(base.run_id(client, run))
        if json:
            show.as_json(page, out)
        else:
            tables.print_variants(out, page.items)


def _amount(sparsity: float | None, pattern: str | None) -> dict[str, Any]:
    """The fields of how many weights go. Raises InvalidRequest when both are given."""
    if sparsity is not None and pattern is not None:
        raise InvalidRequest(
            "--sparsity and --pattern were both given.", hint="Give one: 2:4 is a sparsity of 0.5."
        )
    given = {"sparsity": sparsity, "pattern": pattern}
    return {name: value for name, value in given.items() if value is not None}


def _print(found: Variant, request: Coverage, json: bool) -> None:
    if json:
        show.as_json(found, out)
    else:
        tables.print_variant(out, found, request)


def _print_estimate(found: Estimate, json: bool) -> None:
    if json:
        show.as_json(found, out)
    else:
        tables.print_estimate(out, found)


def _variant(client: Client, run: str, variant: str) -> Variant:
    return client.expansion(run, variant) if variant.startswith("x-") else client.pruning(run, variant)
