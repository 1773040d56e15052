"""What pruning and expansion did to a neuron, in numbers and in a sentence. WD and W1 are kept apart by name."""

from __future__ import annotations

from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from app.schemas.distribution import ChangedOutputs, ExpandedOutputs, NeuronDistributions
from frontend import ids, theme
from frontend.components.common import note

Column = tuple[str, str, ChangedOutputs | None, str]
"""Name, colour, what is shown in it (None for dense), and its settings in words."""


def comparison(found: NeuronDistributions, dense_zero_share: float) -> Component:
    """A sentence and a table: a row per number, a column each for dense, sparse and expanded."""
    columns: list[Column] = [("dense", theme.DENSE, None, "")]
    if found.pruning is not None:
        columns.append(("sparse", theme.SPARSE, found.pruning, found.pruning.title))
    if found.expansion is not None:
        columns.append(("expanded", theme.EXPANDED, found.expansion, found.expansion.title))
    head = html.Tr(
        [
            html.Td(),
            *(
                html.Th(
                    [html.Span(className="swatch", style={"background": colour}), name],
                    scope="col",
                    title=title,
                )
                for name, colour, _, title in columns
            ),
        ]
    )
    rows = [
        _row("wd", "WD to a Gaussian", "how far the outputs are from a Gaussian (Eq. 1)", columns, found.wd),
        _row("w1", "W1 to dense", "how far the outputs' distribution moved: another thing than WD", columns),
        _row("rmse", "RMSE", "root of the mean squared output error", columns),
        _row("relative_rmse", "RMSE / std", "over the dense outputs' standard deviation", columns),
        _row(
            "zero_share",
            "zero weights",
            "share, counted in the new weights; for an expansion over all experts",
            columns,
            dense_zero_share,
        ),
    ]
    if found.expansion is not None:
        rows.append(
            _row("weighted_wd", "weighted WD", "mean WD of the experts by their tokens (Fig. 5)", columns)
        )
        rows.append(
            _row(
                "weighted_md",
                "weighted MD",
                f"mean mapping difficulty of the experts by their tokens; dense MD {theme.number(found.md)}",
                columns,
            )
        )
    return html.Div(
        [
            _headline(found),
            html.Table([html.Thead(head), html.Tbody(rows)], className="numbers comparison"),
            note(
                "WD measures each against a Gaussian; W1 and RMSE measure the change against dense. Point at a name or a "
                "number for more."
            ),
        ]
    )


def _row(
    name: str,
    label: str,
    words: str,
    columns: Sequence[Column],
    dense: float | None = None,
) -> Component:
    cells = []
    for column, _, changed, _ in columns:
        if changed is None:
            known, value = dense is not None, dense
        else:
            known, value = hasattr(changed, name), getattr(changed, name, None)
        full = repr(value) if value is not None else "no value"
        text = theme.number(value) if known else ""
        cells.append(
            html.Td(text, id=ids.number(f"{column}-{name}"), title=full if known else "", className="number")
        )
    return html.Tr([html.Th(label, scope="row", title=words), *cells])


def _headline(found: NeuronDistributions) -> Component:
    if found.pruning is None or found.expansion is None:
        return html.P(_one_sided(found), className="headline")
    if found.ri is None:
        return html.P("The expansion is exact: it has no error to relate RI to.", className="headline")
    closer = "closer to dense than" if found.ri > 1 else "no closer to dense than"
    return html.P(
        [
            "RI ",
            html.Strong(theme.number(found.ri), id=ids.number("ri"), title=repr(found.ri)),
            f": expanded is {closer} sparse, whose RMSE is {theme.number(found.ri)} times as large.",
        ],
        className="headline",
        title="Relative improvement: RMSE of the pruning over RMSE of the expansion",
    )


def _one_sided(found: NeuronDistributions) -> str:
    changed: ChangedOutputs | ExpandedOutputs | None = found.pruning or found.expansion
    if changed is None:
        return ""
    other = "an expansion" if found.pruning else "a pruning"
    share = changed.relative_rmse
    words = f"{changed.title}: " + (
        "the outputs moved."
        if share is None
        else f"an error of {theme.percent(share)} of the outputs' spread."
    )
    return f"{words} RI needs {other} as well."
