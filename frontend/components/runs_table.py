"""The list of runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from app.schemas.run import Run
from frontend import ids, paths, theme
from frontend.components.common import link
from frontend.components.job_panel import state_badge


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]], name: str, right: Sequence[int] = ()
) -> Component:
    """A plain table; columns in `right` are right-aligned numbers."""
    style = dict.fromkeys(right, "number")
    return dmc.Table(
        [
            dmc.TableThead(
                dmc.TableTr([dmc.TableTh(text, className=style.get(i, "")) for i, text in enumerate(head)])
            ),
            dmc.TableTbody(
                [
                    dmc.TableTr([dmc.TableTd(cell, className=style.get(i, "")) for i, cell in enumerate(row)])
                    for row in rows
                ]
            ),
        ],
        id=name,
        highlightOnHover=True,
        tabularNums=True,
    )


def runs_table(runs: Sequence[Run], present: str | None = None) -> Component:
    """Every run with its state; the one on screen is marked."""
    now = datetime.now(UTC)
    rows = [
        [
            html.Span(
                [link(run.model.title, paths.run_path(run.id)), " (shown)" if run.id == present else ""]
            ),
            run.corpus_title or run.request.corpus,
            theme.count(run.tokens or run.request.tokens),
            theme.count(run.neurons) if run.neurons else "–",
            theme.duration(run.seconds),
            state_badge(run.state),
            html.Span(theme.age(run.created_at, now), title=f"{run.created_at:%Y-%m-%d %H:%M:%S %Z}"),
        ]
        for run in runs
    ]
    head = ("model", "corpus", "tokens", "neurons", "time", "state", "made")
    return html.Div(table(head, rows, ids.RUNS_TABLE, right=(2, 3, 4)), className="scroll-x")
