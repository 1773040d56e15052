"""Which metrics can be shown, what they are called, and how their values become colours."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.schemas.layer import Metric
from app.schemas.variant import VariantKind
from frontend import theme

GROUPS = {
    frozenset(): "dense",
    frozenset({VariantKind.pruning}): "sparse",
    frozenset({VariantKind.expansion}): "expanded",
    frozenset(VariantKind): "expanded against sparse",
}
"""Heads of the selector's groups, by what the metrics need."""
TICK_STEPS = (8.0, 4.0, 2.0, 1.5, 1.25, 1.1, 1.05, 1.02, 1.01)
"""Ratios between the ticks of RI; the largest that leaves two on each side of 1 is taken."""
EXPLANATIONS = {
    Metric.md: "MD compares neurons within a layer only: it does not compare across layers.",
    Metric.weighted_md: "MD compares neurons within a layer only: it does not compare across layers.",
    Metric.pruned_w1: "W1 is the distance between the sparse and the dense outputs, another thing than WD.",
    Metric.expanded_w1: "W1 is the distance between the expanded and the dense outputs, another thing than WD.",
    Metric.ri: (
        "RI is the RMSE of the pruning over the RMSE of the expansion: above 1 (green) the expansion is closer to dense, "
        "below 1 (orange) the pruning is. Colours are logarithmic, centred on 1."
    ),
}
"""What must be known to read a metric."""


def named(text: str | None, among: Iterable[Metric] = Metric) -> Metric:
    """The metric a query names; WD when it names none."""
    return next((metric for metric in among if metric == text), Metric.wd)


def lacking(metric: Metric, have: Collection[VariantKind]) -> str:
    """A sentence on what must be chosen before a metric can be shown; empty when it can."""
    missing = metric.needs - set(have)
    them = "them" if len(missing) > 1 else "it"
    return f"{theme.LABELS[metric]} needs {_words(missing)}: choose {them} above." if missing else ""


def choices(have: Collection[VariantKind], among: Iterable[Metric] = Metric) -> list[dict[str, Any]]:
    """Metrics for a selector, in groups; those that need what is not chosen cannot be taken and say why."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for metric in among:
        missing = metric.needs - set(have)
        label = theme.LABELS[metric] + (f" (needs {_words(missing)})" if missing else "")
        item = {"value": str(metric), "label": label, "disabled": bool(missing)}
        groups.setdefault(GROUPS[metric.needs], []).append(item)
    return [{"group": name, "items": items} for name, items in groups.items()]


def _words(kinds: Collection[VariantKind]) -> str:
    articles = {VariantKind.pruning: "a pruning", VariantKind.expansion: "an expansion"}
    return " and ".join(articles[kind] for kind in VariantKind if kind in kinds)


@dataclass(frozen=True)
class Colours:
    """How a metric's values become colours: sequential between two values, or for RI logarithmic around 1."""

    metric: Metric
    low: float
    high: float

    @classmethod
    def of(cls, metric: Metric, values: NDArray[np.floating[Any]], ends: tuple[float, float]) -> Colours:
        """Between the quantiles `ends` of the finite `values`; RI as far on both sides of 1."""
        known = values[np.isfinite(values)].astype(float)
        if metric is Metric.ri:
            known = np.abs(np.log2(known[known > 0]))
            reach = max(float(np.quantile(known, ends[1])) if known.size else 1.0, 0.01)
            return cls(metric, 2.0**-reach, 2.0**reach)
        low, high = np.quantile(known, ends).tolist() if known.size else (0.0, 1.0)
        return cls(metric, low, high if high > low else low + 1e-9)

    @property
    def logarithmic(self) -> bool:
        """Whether cells hold the logarithm (base 2) of the value."""
        return self.metric is Metric.ri

    def cells(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """What the cells of a heatmap hold."""
        if not self.logarithmic:
            return values.astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log2(values), dtype=np.float32)

    @property
    def ends(self) -> tuple[float, float]:
        """First and last colour, in the cells' terms."""
        return (math.log2(self.low), math.log2(self.high)) if self.logarithmic else (self.low, self.high)

    @property
    def scale(self) -> Any:
        """The colour scale."""
        return theme.DIVERGING if self.logarithmic else theme.SEQUENTIAL

    def bar(self) -> dict[str, Any]:
        """The colour bar."""
        bar: dict[str, Any] = {
            "title": {"text": theme.LABELS[self.metric], "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
        }
        if self.logarithmic:
            ticks = self._ticks()
            bar |= {
                "tickvals": [math.log2(tick) for tick in ticks],
                "ticktext": [f"{tick:.3g}" for tick in ticks],
            }
        return bar

    def _ticks(self) -> list[float]:
        reach = math.log2(self.high)
        step = next((step for step in TICK_STEPS if 2 * math.log2(step) <= reach), TICK_STEPS[-1])
        most = int(reach / math.log2(step) + 1e-9)
        return [step**power for power in range(-most, most + 1)]
