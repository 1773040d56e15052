"""What each card shows, as rows for a CSV file. Whole numbers, full precision: files are for machines."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from app.schemas.distribution import ChangedOutputs, NeuronDistributions
from app.schemas.expansion import ExpertTokens
from app.schemas.neuron import NeuronDetail, TokenExample
from app.schemas.outputs import NeuronPairs, OutputToken, WdInterval

Row = Mapping[str, Any]


def csv_text(rows: Sequence[Row]) -> str:
    """Rows of the same columns as CSV, with a head; nothing but an empty line where there are none."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def distribution_rows(found: NeuronDetail | NeuronDistributions) -> list[Row]:
    """A row per bin: its edges, and the tokens in it."""
    if isinstance(found, NeuronDetail):
        spread = found.distribution
        width = (spread.high - spread.low) / len(spread.counts)
        return [
            {"low": spread.low + i * width, "high": spread.low + (i + 1) * width, "dense": count}
            for i, count in enumerate(spread.counts)
        ]
    columns: dict[str, Sequence[float]] = {"dense": found.dense, "gaussian": found.gaussian}
    if found.pruning is not None:
        columns["sparse"] = found.pruning.counts
    if found.expansion is not None:
        columns["expanded"] = found.expansion.counts
    return _binned(found, columns)


def expert_rows(found: NeuronDistributions) -> list[Row]:
    """A row per bin, a column per expert."""
    experts = found.expansion.experts if found.expansion else []
    return _binned(found, {f"expert {expert.expert}": expert.counts for expert in experts})


def expert_token_rows(found: Sequence[ExpertTokens]) -> list[Row]:
    """A row per expert and common token."""
    return [
        {"expert": one.expert, "tokens": one.tokens, "token": token, "count": count}
        for one in found
        for token, count in one.commonest
    ]


def number_rows(neuron: NeuronDetail, interval: WdInterval | None = None) -> list[Row]:
    """A row per number."""
    shown = neuron.model_dump(exclude={"distribution", "tokens", "provenance", "effects"})
    shown |= {"gaussian_floor": neuron.provenance.gaussian_floor, "tokens": neuron.provenance.tokens}
    if interval is not None:
        shown |= {
            f"wd_{name}": value
            for name, value in interval.model_dump().items()
            if name not in ("wd", "method")
        }
    return [{"name": name, "value": value} for name, value in shown.items()]


def comparison_rows(found: NeuronDistributions) -> list[Row]:
    """A row each for dense, sparse and expanded."""
    names = ("wd", "w1", "rmse", "relative_rmse", "zero_share", "weighted_wd", "weighted_md")
    made: list[Row] = [{"outputs": "dense", **dict.fromkeys(names), "wd": found.wd, "ri": None}]
    for name, changed in (("sparse", found.pruning), ("expanded", found.expansion)):
        if changed is not None:
            made.append({"outputs": name, **_numbers(changed, names), "ri": found.ri})
    return made


def token_rows(tokens: Sequence[TokenExample], experts: Mapping[int, int] | None = None) -> list[Row]:
    """A row per token in its text; with its expert where one is known."""
    return [
        {
            "position": token.position,
            "window": token.window,
            "offset": token.offset,
            "value": token.value,
            "expert": token.expert if isinstance(token, OutputToken) else (experts or {}).get(token.position),
            "token": token.token,
            "before": token.before,
            "after": token.after,
        }
        for token in tokens
    ]


def pair_rows(found: NeuronPairs) -> list[Row]:
    """A row per drawn pair, normalised and in units of their own."""
    return [
        {
            "input_distance": x,
            "output_distance": y,
            "input_distance_raw": x * found.input_scale,
            "output_distance_raw": y * found.output_scale,
        }
        for x, y in zip(found.input_distances, found.output_distances, strict=True)
    ]


def _binned(found: NeuronDistributions, columns: Mapping[str, Sequence[float]]) -> list[Row]:
    return [
        {
            "low": found.low + i * found.width,
            "high": found.low + (i + 1) * found.width,
            **{name: counts[i] for name, counts in columns.items()},
        }
        for i in range(len(found.dense))
    ]


def _numbers(changed: ChangedOutputs, names: Sequence[str]) -> dict[str, float | None]:
    return {name: getattr(changed, name, None) for name in names}
