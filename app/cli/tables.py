"""Prunings, expansions, evaluations and estimates as the command line prints them."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from app.console import digits, print_table
from app.schemas.evaluation import Evaluation
from app.schemas.model import Estimate
from app.schemas.variant import Coverage, LayerResult, Variant


def print_variant(console: Console, found: Variant, asked: Coverage) -> None:
    """The layers that were asked for, one a line, and what the model has become."""
    _line(console, f"\n{found.id}  {found.title}: {len(found.layers)} of {found.layers_total} layers")
    shown = [
        result
        for result in found.layers
        if (asked.layers is None or result.layer in asked.layers)
        and (asked.projections is None or result.projection in asked.projections)
    ]
    expanded = any(result.clusters for result in shown)
    names = ["block", "projection", "zeros", "relative error", "damping", "seconds"]
    table = _table([*names, "tokens of an expert"] if expanded else names)
    for result in shown:
        cells = [
            str(result.layer),
            result.projection,
            f"{100 * result.sparsity:.4g} %",
            digits(result.relative_error),
            digits(result.damping),
            digits(result.seconds),
        ]
        table.add_row(*cells, *([_sizes(result)] if expanded else []))
    _print(console, table)
    _line(
        console,
        f"Zeros in all feed-forward weights: {_percent(found.ffn_sparsity)}; in the whole model: "
        f"{_percent(found.model_sparsity)}",
    )


def print_variants(console: Console, found: Sequence[Variant]) -> None:
    """A list of them, one a line."""
    table = _table(["id", "settings", "layers", "feed-forward zeros", "exported"])
    for variant in found:
        table.add_row(
            variant.id,
            variant.title,
            f"{len(variant.layers)}/{variant.layers_total}",
            _percent(variant.ffn_sparsity),
            "yes" if variant.export else "no",
        )
    _print(console, table)


def print_evaluation(console: Console, found: Evaluation) -> None:
    """Perplexities with their intervals."""
    corpus = f" of {found.request.corpus}" if found.request.corpus else ""
    windows = "1 window" if found.windows == 1 else f"{found.windows:,} windows"
    _line(
        console,
        f"\n{found.id}  perplexity on {found.tokens:,} tokens from the end{corpus}, {windows} of "
        f"{found.request.window}",
    )
    table = _table(["id", "model", "perplexity", "95 % interval", "feed-forward zeros", "layers"])
    for result in found.results:
        table.add_row(
            result.variant or "",
            result.title,
            f"{result.perplexity:.4g}",
            f"{result.low:.4g} to {result.high:.4g}",
            _percent(result.ffn_sparsity),
            str(result.layers),
        )
    _print(console, table)


def print_estimate(console: Console, found: Estimate) -> None:
    """What work would take."""
    _line(
        console,
        f"About {_time(found.seconds)}, {_bytes(found.host_bytes)} of memory a worker, "
        f"{_bytes(found.store_bytes)} in the store ({found.basis}).",
    )


def _table(names: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in names:
        text = name in ("id", "settings", "model", "projection")
        table.add_column(name, justify="left" if text else "right", no_wrap=True)
    return table


def _print(console: Console, table: Table) -> None:
    if not print_table(console, table):
        console.print(table)


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _sizes(result: LayerResult) -> str:
    sizes = [cluster.tokens for cluster in result.clusters]
    return f"{min(sizes):,} to {max(sizes):,}" if sizes else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.4g} %"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def _bytes(count: int) -> str:
    return f"{count / 2**30:.3g} GiB" if count >= 2**29 else f"{count / 2**20:.3g} MiB"
