"""The look: colours that keep their meaning on every page, number formats, and words for metrics.

Okabe-Ito colours are safe for colour blindness. Text, grid lines and surfaces differ between light and dark; they
are CSS variables, made here too (`stylesheet`), so that changing the theme draws no figure again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.schemas.layer import Metric

DENSE = "#0072B2"
SPARSE = "#D55E00"
EXPANDED = "#009E73"
GAUSSIAN = "#7F7F7F"
PINNED = "#CC79A7"
RANGE = "#F0E442"
"""A range that is looked at."""
WASSERSTEIN = "#E31A1C"
"""Outlines, points and thresholds of Wasserstein neurons; stands out on the sequential scale too."""
EXPERTS = (
    "#F2A524",
    "#0057C4",
    "#01D27A",
    "#FF4236",
    "#9188F2",
    "#924F06",
    "#03C4FE",
    "#B230FD",
    "#289623",
    "#DC9AC0",
    "#146757",
    "#FD36C5",
    "#0A90B2",
    "#C2085F",
    "#795991",
    "#B96C7A",
)
"""Experts in a fixed order: as far apart as 16 colours can be, for colour blindness too, on light and dark. Experts
beyond the sixteenth begin again; their number is always beside the colour."""
PROJECTIONS = ("#56B4E9", "#E69F00", "#785EF0", "#999999")
"""Series of projections; the marker differs too, so that colour is never alone."""
SYMBOLS = ("circle", "square", "diamond", "cross")
SEQUENTIAL = "Viridis"
DIVERGING = [[0.0, "#7A3500"], [0.25, SPARSE], [0.5, "#EDEAE4"], [0.75, EXPANDED], [1.0, "#00543D"]]
"""From where sparse is closer to dense to where expanded is."""
DIFFERENCES = [[0.0, "#8A3F68"], [0.25, PINNED], [0.5, "#EDEAE4"], [0.75, "#3F9CD3"], [1.0, "#00446C"]]
"""From where what is pinned is larger to where the page's own is."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

LABELS: dict[Metric, str] = {
    Metric.wd: "WD",
    Metric.md: "MD",
    Metric.mean: "mean",
    Metric.std: "standard deviation",
    Metric.skew: "skew",
    Metric.kurtosis: "excess kurtosis",
    Metric.entropy: "entropy (nats)",
    Metric.mean_abs_weight: "mean |w|",
    Metric.weight_norm: "weight norm",
    Metric.zero_share: "share of zero weights",
    Metric.pruned_wd: "WD, sparse",
    Metric.pruned_w1: "W1 sparse to dense",
    Metric.pruned_rmse: "RMSE, sparse",
    Metric.expanded_wd: "WD, expanded",
    Metric.expanded_w1: "W1 expanded to dense",
    Metric.expanded_rmse: "RMSE, expanded",
    Metric.weighted_wd: "weighted WD of the experts",
    Metric.weighted_md: "weighted MD of the experts",
    Metric.ri: "RI",
}

HOUSE = (
    "#e6f3fa",
    "#cce6f4",
    "#9bcdea",
    "#67b2de",
    "#3f9cd3",
    "#1f86c4",
    DENSE,
    "#00639c",
    "#005484",
    "#00446c",
)
"""Ten shades of the house's blue, as Mantine wants them; the seventh is the blue itself."""

MANTINE: dict[str, Any] = {
    "primaryColor": "house",
    "colors": {"house": HOUSE},
    "primaryShade": {"light": 6, "dark": 7},
    "fontFamily": FONT,
    "defaultRadius": "sm",
    "respectReducedMotion": True,
    "fontSizes": {"xs": "12px", "sm": "14px", "md": "14px", "lg": "20px", "xl": "20px"},
}

SIZES = {"small": "12px", "text": "14px", "title": "20px", "step": "8px"}
"""The three sizes of text, and the grid that distances are multiples of."""

MONO = "ui-monospace, 'DejaVu Sans Mono', monospace"

LIGHT = {
    "text": "#212529",
    "muted": "#5c636a",
    "surface": "#ffffff",
    "ground": "#f6f7f9",
    "grid": "#e3e6ea",
    "hover": "#eef4fa",
    "accent": "#0067a3",
    "mark": "#ffe08a",
    "selected": "#fbe9f3",
    "error": "#c92a2a",
    "shadow": "0 1px 2px rgb(0 0 0 / 6%)",
    "sparse-text": "#b34e00",
    "expanded-text": "#007a59",
}
DARK = {
    "text": "#e6e8eb",
    "muted": "#a3abb3",
    "surface": "#1c1f23",
    "ground": "#121417",
    "grid": "#343a40",
    "hover": "#262c33",
    "accent": "#56b4e9",
    "mark": "#6b5400",
    "selected": "#46303d",
    "error": "#ff8787",
    "shadow": "none",
    "sparse-text": "#ff8c42",
    "expanded-text": "#2fc79b",
}
"""Surfaces and text of both schemes. Data keep their colours; where one of them colours words it is darker or lighter,
so that it can be read."""


def stylesheet() -> str:
    """The theme as CSS variables; assets/wasserscope.css has no colour and no font of its own. Print is always light."""
    same = {"dense": DENSE, "sparse": SPARSE, "expanded": EXPANDED, "gaussian": GAUSSIAN, "pinned": PINNED}
    same |= {"font": FONT, "mono": MONO} | {f"size-{name}": size for name, size in SIZES.items()}
    dark = '[data-mantine-color-scheme="dark"]'
    return (
        f":root{{{_variables(same | LIGHT)}}}"
        f"@media screen{{{dark}{{{_variables(DARK)}}}}}"
        f"@media print{{{dark}{{{_variables(LIGHT)}}}}}"
    )


def _variables(values: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in values.items())


GRAPH_CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "responsive": True,
    "displayModeBar": "hover",
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg"},
}

BRUSH_CONFIG = GRAPH_CONFIG | {"modeBarButtonsToRemove": ["lasso2d", "autoScale2d"]}
"""Of a plot across which a range can be drawn."""


def number(value: float | None, digits: int = 3) -> str:
    """`value` in `digits` significant digits; a dash where there is none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    text = f"{value:#.{digits}g}".removesuffix(".")
    if "e" in text and 1e-4 <= abs(value) < 1e6:
        text = f"{float(text):,.0f}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def count(value: int | None) -> str:
    """A whole number with thousands separated."""
    return "–" if value is None else f"{value:,}"


def duration(seconds: float | None) -> str:
    """A time for people: 48 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def age(then: datetime, now: datetime) -> str:
    """How long ago something was, for people: 12 s, 5 min, 3 h, 4 days ago."""
    seconds = max(0, round((now - then).total_seconds()))
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            many = seconds // length
            return f"{many} {unit}{'s' if unit == 'day' and many > 1 else ''} ago"
    return f"{seconds} s ago"


def size(bytes_: int) -> str:
    """A size in memory or on disk: 780 MB, 1.4 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if bytes_ >= scale:
            return f"{bytes_ / scale:.3g} {unit}"
    return f"{max(bytes_, 0) / 1e3:.0f} kB"


def percent(share: float | None) -> str:
    """A share of 1 in percent."""
    return "–" if share is None else f"{100 * share:.3g} %"


def expert_colour(expert: int) -> str:
    """The colour of an expert."""
    return EXPERTS[expert % len(EXPERTS)]


def ink_on(colour: str) -> str:
    """Black or white, whichever is read better on `colour`."""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    )
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#FFFFFF"


def plain_layout(**changes: Any) -> dict[str, Any]:
    """Layout shared by every figure: no boxes, no grey background, thin grid lines."""
    layout: dict[str, Any] = {
        "paper_bgcolor": "rgba(255,255,255,0)",
        "plot_bgcolor": "rgba(255,255,255,0)",
        "font": {"family": FONT, "size": 12, "color": "#343a40"},
        "margin": {"l": 56, "r": 16, "t": 16, "b": 44},
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
        "dragmode": "zoom",
        "showlegend": False,
    }
    return layout | changes


def plain_axis(**changes: Any) -> dict[str, Any]:
    """An axis with thin grid lines and no zero line."""
    axis: dict[str, Any] = {
        "gridcolor": "#dee2e6",
        "gridwidth": 1,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "automargin": True,
    }
    return axis | changes
