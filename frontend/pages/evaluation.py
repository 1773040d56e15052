"""One evaluation: perplexity of each model, with its interval and what it was measured on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from dash.development.base_component import Component

from app.client import AsyncClient
from app.errors import WasserscopeError
from app.schemas.evaluation import Evaluation
from app.schemas.job import Job
from frontend import ids, paths, theme
from frontend.components.common import button_link, card, column, note, page_title
from frontend.components.evaluate_form import results_table
from frontend.components.live import live_panel
from frontend.paths import Place


async def page(client: AsyncClient, place: Place) -> Component:
    """The results, or the job that is at work on them."""
    name = place.run or ""
    found, run, corpora = await asyncio.gather(
        client.evaluation(name, place.evaluation), client.run(name), client.corpora()
    )
    titles = {corpus.name: corpus.title for corpus in corpora.items}
    corpus = corpus_title(found, titles, run.corpus_title)
    title = page_title(f"Perplexity on {corpus}", button_link("All of this run", paths.variants_path(name)))
    if not found.finished:
        job = await _job(client, found)
        waiting = note("The results appear here when its job has finished. No job is at work on it now.")
        return column(title, *(live_panel([job]) if job else [card("Not finished", waiting)]))
    took = note(f"Made {found.created_at:%Y-%m-%d %H:%M} UTC in {theme.duration(found.seconds)}.")
    return column(title, card("Results", results_table(found, corpus), took, id=ids.EVALUATIONS))


async def _job(client: AsyncClient, evaluation: Evaluation) -> Job | None:
    if evaluation.job is None:
        return None
    try:
        return await client.job(evaluation.job)
    except WasserscopeError:
        return None


def corpus_title(evaluation: Evaluation, titles: Mapping[str, str], own: str) -> str:
    """The text of an evaluation in words; the run's own where none was named."""
    name = evaluation.request.corpus
    return titles.get(name, name) if name else own or "the run's own corpus"
