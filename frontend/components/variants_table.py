"""Prunings and expansions of a run in a table: how far each has come, its zeros, its export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.expansion import Expansion
from app.schemas.job import Job
from app.schemas.pruning import Pruning
from app.schemas.variant import VariantKind
from frontend import ids, paths, theme
from frontend.components.common import link, note
from frontend.components.runs_table import table
from frontend.components.variants import COLOURS, extent

HEAD = ("made", "settings", "layers done", "zeros, FFN", "zeros, model", "exported model")
ZEROS = (
    "Shares are of all feed-forward weights and of all weights of the model, layers that stay dense included. Zeros alone "
    "make nothing faster and no file smaller: that takes kernels and formats made for them. An expansion keeps every "
    "expert's weights, so it is larger than the dense model."
)


def variants_table(
    run: str, variants: Sequence[Pruning | Expansion], exports: Mapping[str, Job], shown: str | None
) -> Component:
    """exports: the last export job of each; shown: the one that the address names."""
    rows = [_row(run, variant, exports.get(variant.id), variant.id == shown) for variant in variants]
    return html.Div(
        [html.Div(table(HEAD, rows, ids.VARIANTS_TABLE, right=(3, 4)), className="scroll-x"), note(ZEROS)]
    )


def _row(run: str, variant: Pruning | Expansion, export: Job | None, shown: bool) -> list[object]:
    kind = VariantKind.pruning if isinstance(variant, Pruning) else VariantKind.expansion
    address = paths.with_query(paths.run_path(run), {kind: variant.id})
    name = html.Div(
        [
            html.Span(className="swatch", style={"background": COLOURS[kind]}),
            link(variant.title, address),
            html.Div("named in the address", className="muted small") if shown else None,
            html.Div(variant.id, className="muted small"),
        ]
    )
    return [
        str(kind),
        name,
        extent(variant),
        html.Span(theme.percent(variant.ffn_sparsity), title=repr(variant.ffn_sparsity)),
        html.Span(theme.percent(variant.model_sparsity), title=repr(variant.model_sparsity)),
        _export(variant, export),
    ]


def _export(variant: Pruning | Expansion, job: Job | None) -> Component:
    if job is not None and not job.state.final:
        return link("exporting…", paths.job_path(job.id))
    again = dmc.Button(
        "Export again" if variant.export else "Export",
        id=ids.export(variant.id),
        variant="default",
        size="xs",
        disabled=not variant.layers,
        **{"aria-label": f"export {variant.id}"},
    )
    if variant.export is None:
        return again
    folder = [
        html.Code(variant.export, className="folder", title=variant.export),
        dcc.Clipboard(content=variant.export, title="copy the folder", className="copy"),
    ]
    return html.Div([html.Div(folder, className="row"), again])
