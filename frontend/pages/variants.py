"""What was made from a run: its prunings and expansions with their exports, and perplexity on held-out text."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import WasserscopeError
from app.schemas.evaluation import Evaluation
from app.schemas.expansion import Expansion
from app.schemas.job import Job
from app.schemas.pruning import Pruning
from app.schemas.run import RunState
from app.schemas.variant import VariantKind
from frontend import ids, paths, theme
from frontend.components.common import button_link, card, column, empty_state, link, note, page_title
from frontend.components.evaluate_form import context_of, evaluate_form
from frontend.components.live import live_panel
from frontend.components.runs_table import table
from frontend.components.shell import run_title
from frontend.components.variants import form_button
from frontend.components.variants_table import variants_table
from frontend.pages.evaluation import corpus_title
from frontend.paths import Place

MOST = 200
"""Prunings, expansions, evaluations and jobs shown, the newest of each."""


async def page(client: AsyncClient, place: Place) -> Component:
    """Everything that was made from a run, and the forms that make more."""
    name = place.run or ""
    run, prunings, expansions, evaluations, corpora, jobs = await asyncio.gather(
        client.run(name),
        client.prunings(name, limit=MOST),
        client.expansions(name, limit=MOST),
        client.evaluations(name, limit=MOST),
        client.corpora(),
        _jobs(client, name),
    )
    title = page_title(
        f"Variants of {run_title(run)}",
        button_link("Map", paths.with_query(paths.run_path(name), paths.variants(place.query))),
        form_button(VariantKind.pruning, "page"),
        form_button(VariantKind.expansion, "page"),
    )
    if run.state is not RunState.finished:
        words = "Prunings, expansions and evaluations start from a finished run."
        go = button_link("Follow the run", paths.run_path(name), primary=True)
        return column(title, empty_state(f"This run is {run.state}", note(words), go))
    variants: list[Pruning | Expansion] = [*prunings.items, *expansions.items]
    live = [job for job in jobs if not job.state.final]
    named = [name for name in paths.variants(place.query).values() if name]
    titles = {corpus.name: corpus.title for corpus in corpora.items}
    return column(
        title,
        *(live_panel(live) if live else []),
        card("Prunings and expansions", *_variants(name, variants, jobs, named)),
        card("Evaluate", evaluate_form(run, variants, corpora.items, named)),
        card("Evaluations", _evaluations(evaluations.items, titles, run.corpus_title), id=ids.EVALUATIONS),
    )


async def _jobs(client: AsyncClient, run: str) -> list[Job]:
    """Jobs of the run; none where the queue does not answer: what is stored can be looked at without it."""
    try:
        return (await client.jobs(run=run, limit=MOST)).items
    except WasserscopeError:
        return []


def _variants(
    run: str, variants: Sequence[Pruning | Expansion], jobs: Sequence[Job], named: Sequence[str]
) -> list[Component]:
    if not variants:
        words = "Nothing is pruned or expanded yet. Prune… and Expand… above make the first; both start from this run."
        return [note(words)]
    exports = {job.subject: job for job in reversed(jobs) if job.kind == "export" and job.subject}
    shown = named[0] if named else None
    return [
        variants_table(run, variants, exports, shown),
        html.Div(id=ids.EXPORT_ANSWER, **{"aria-live": "polite"}),
    ]


def _evaluations(found: Sequence[Evaluation], titles: dict[str, str], own: str) -> Component:
    if not found:
        return note(
            "Nothing is evaluated yet. The form above measures the dense model and whatever is chosen in it."
        )
    rows = []
    for one in found:
        corpus = corpus_title(one, titles, own)
        best = [
            f"{'dense' if r.variant is None else r.title}: {theme.number(r.perplexity)}"
            for r in one.results[:4]
        ]
        more = f"; {len(one.results) - 4} more" if len(one.results) > 4 else ""
        shown = "; ".join(best) + more if one.finished else "not finished"
        rows.append(
            [
                link(f"{one.created_at:%Y-%m-%d %H:%M}", paths.evaluation_path(one.run, one.id)),
                shown,
                context_of(one, corpus) if one.finished else f"{one.request.tokens:,} tokens of {corpus}",
            ]
        )
    return html.Div(
        table(("made, UTC", "perplexity", "measured on"), rows, "evaluations-table"), className="scroll-x"
    )
