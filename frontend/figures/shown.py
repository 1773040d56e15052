"""How a distribution is drawn: on the output's own axis or in standard deviations, in how many bins, with which range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frontend import theme

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """How the bars of a neuron are drawn."""

    standard: bool = False
    """The axis in standard deviations from the mean."""
    bins: int = 256
    """Over the range of the outputs; neighbours are joined."""
    chosen: tuple[float | None, float | None] | None = None
    """The range that is looked at, in the output's units; an end that is None is open."""


RAW = Shown()
"""As it was counted."""


@dataclass(frozen=True)
class Axis:
    """From the output's units to the axis and back."""

    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, shown: Shown, mean: float, std: float) -> Axis:
        """The axis of a neuron; its own units where it has no spread."""
        return cls(mean, std) if shown.standard and std > 0 else cls()

    @property
    def title(self) -> str:
        """What stands below it."""
        if self == Axis():
            return "output before the activation"
        return "output before the activation, in standard deviations from its mean"

    def at(self, values: Any) -> Any:
        """Outputs, or an array of them, on the axis."""
        return (values - self.mean) / self.std

    def back(self, value: float) -> float:
        """A place on the axis in the output's units."""
        return self.mean + value * self.std


def joined(counts: NDArray[Any], within: int, bins: int) -> NDArray[Any]:
    """Neighbouring bins joined, so that the `within` bins of the outputs' range become `bins`, where that divides."""
    factor = max(1, within // bins)
    if len(counts) % factor:
        return counts
    found: NDArray[Any] = counts.reshape(-1, factor).sum(axis=1)
    return found


def range_shapes(shown: Shown, axis: Axis, ends: tuple[float, float]) -> list[dict[str, Any]]:
    """The range that is looked at, as a band behind the bars; `ends` of the axis where it is open."""
    if shown.chosen is None:
        return []
    low, high = (
        end if value is None else axis.at(value) for value, end in zip(shown.chosen, ends, strict=True)
    )
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": low,
            "x1": high,
            "y0": 0,
            "y1": 1,
            "layer": "below",
            "fillcolor": theme.RANGE,
            "opacity": 0.25,
            "line": {"width": 1, "color": theme.RANGE},
        }
    ]


BRUSH: dict[str, Any] = {"dragmode": "select", "selectdirection": "h", "selections": []}
"""Layout of a plot across which a range is drawn with the mouse."""
