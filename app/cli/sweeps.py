"""The command that sweeps one layer over sparsity and number of experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from app import console as show
from app.cli import base, tables
from app.cli.base import Json, RunName, Url, out
from app.cli.variants import OnlyEstimate
from app.errors import InvalidRequest
from app.schemas.sweep import NeuronSweep, Sweep, SweepRequest
from app.settings import Settings

Index = Annotated[int | None, typer.Option("--neuron", help="Print this neuron's numbers at each point.")]


def sweep(
    run: RunName,
    layer: Annotated[int, typer.Option(help="The block.")],
    projection: Annotated[str, typer.Option(help="The projection.")],
    neuron: Index = None,
    sparsities: Annotated[
        str | None, typer.Option(help="Shares from 0 to 1, comma between; by default 0, 0.1, ..., 0.9, 0.95.")
    ] = None,
    patterns: Annotated[str | None, typer.Option(help="N:M, comma between; by default 2:4.")] = None,
    experts: Annotated[int, typer.Option(help="Experts at each of the sparsities.")] = 16,
    expert_counts: Annotated[
        str | None, typer.Option(help="Numbers of experts to try; by default 1,2,4,8,16.")
    ] = None,
    at: Annotated[float, typer.Option(help="Sparsity at which they are tried.")] = 0.9,
    estimate: OnlyEstimate = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Prune and expand one layer at many sparsities: submit, follow, print the layer's error or a neuron's numbers.

    Example: wasserscope sweep latest --layer 15 --projection up_proj --neuron 402
    """
    given = {
        "sparsities": _numbers("--sparsities", sparsities),
        "patterns": None if patterns is None else [p.strip() for p in patterns.split(",") if p.strip()],
        "expert_counts": _numbers("--expert-counts", expert_counts),
    }
    named: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    request = SweepRequest(layer=layer, projection=projection, experts=experts, at=at, **named)
    with base.client(Settings(), url) as client:
        run = base.run_id(client, run)
        if estimate:
            takes = client.estimate_sweep(run, request)
            if json:
                show.as_json(takes, out)
            else:
                tables.print_estimate(out, takes)
            return
        submitted = client.sweep(run, request)
        base.follow(client, submitted.job, quiet=json)
        found: Sweep | NeuronSweep = client.one_sweep(run, submitted.sweep.id)
        if neuron is not None:
            found = client.neuron_sweep(run, layer, projection, neuron, submitted.sweep.id)
        if json:
            show.as_json(found, out)
        else:
            _print(found)


def _numbers(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InvalidRequest(
            f"{option} is '{text}', not numbers with commas between.", hint=f"Such as {option} 0,0.5,0.9"
        ) from error


def _print(found: Sweep | NeuronSweep) -> None:
    if isinstance(found, Sweep):
        heads = ["point", "zeros", "relative error"]
        rows = [[r.title, _percent(r.zero_share), _number(r.relative_error)] for r in found.results]
        where = f"{found.id}  {found.title}"
    else:
        heads = ["point", "WD", "W1 to dense", "RMSE", "RMSE / std", "RI"]
        rows = [[p.title, *map(_number, (p.wd, p.w1, p.rmse, p.relative_rmse, p.ri))] for p in found.points]
        where = (
            f"{found.sweep}  neuron {found.index} of block {found.layer} {found.projection}, dense WD "
            f"{_number(found.wd)}, {found.tokens:,} tokens"
        )
    out.print(f"\n{where}", markup=False, highlight=False, soft_wrap=True)
    _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    if not show.print_table(out, table):
        out.print(table)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
