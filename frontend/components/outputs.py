"""A layer's stored outputs: the offer to store them, the job that does, and the tokens and pairs read from them."""

from __future__ import annotations

from collections.abc import Sequence

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.job import Job, JobState
from app.schemas.outputs import LayerOutputs, NeuronOutputs, NeuronPairs, OutputToken
from frontend import ids, paths, theme
from frontend.components.common import error_panel, graph, link, note
from frontend.components.experts import expert_chip
from frontend.components.job_panel import phase_of, progress_bar
from frontend.components.tokens import context, token_list
from frontend.figures import pairs as figures

TICK_MILLISECONDS = 500
MOST_CHIPS = 16


def offer(state: LayerOutputs, where: str, what: str) -> Component:
    """What stands where outputs are needed that are not stored: the job at work, or why it failed, and the button.

    what: the sentence that says what one gets.
    """
    live = at_work(state)
    return html.Div(
        [
            html.Div(
                storing_status(live) if live else _start(state, where, what), id=ids.outputs_status(where)
            )
        ],
        className="undone",
        **{"aria-live": "polite"},
    )


def storing_status(job: Job) -> list[Component]:
    """How the job stands; it can be cancelled where its log is."""
    words = html.Div(
        [
            html.Span(phase_of(job), className="phase"),
            html.Span(className="spacer"),
            link("log", paths.job_path(job.id)),
        ],
        className="row",
    )
    failed = job.problem
    panel = None if failed is None else error_panel(failed.title, failed.detail, failed.hint)
    return [words, progress_bar(job), panel]


def at_work(state: LayerOutputs) -> Job | None:
    """The job that is about to store them."""
    return state.job if state.job is not None and not state.job.state.final and not state.stored else None


def follower(state: LayerOutputs) -> list[Component]:
    """What follows the job while there is one."""
    live = at_work(state)
    if live is None:
        return []
    return [
        dcc.Store(id=ids.OUTPUTS_JOB, data=live.id),
        dcc.Interval(id=ids.OUTPUTS_TICK, interval=TICK_MILLISECONDS),
    ]


def _start(state: LayerOutputs, where: str, what: str) -> list[Component]:
    job = state.job
    parts: list[Component] = []
    if job is not None and job.state is JobState.failed and job.problem is not None:
        parts.append(error_panel(job.problem.title, job.problem.detail, job.problem.hint))
    size = f"{theme.size(state.size_bytes)} in the store, for all {state.neurons:,} neurons of this layer"
    return [
        *parts,
        note(f"{what} A run keeps histograms, not what a neuron answers to every token: that takes {size}."),
        dmc.Button("Store this layer's outputs", id=ids.store_outputs(where), variant="default", size="sm"),
    ]


def range_line(found: NeuronOutputs, moves: Sequence[Component]) -> Component:
    """How many tokens a range holds, of how many, and which experts they go to."""
    share = theme.percent(found.total / found.tokens) if found.tokens else "–"
    first, last = found.offset + 1, found.offset + len(found.items)
    shown = f", {first:,}–{last:,} shown" if 0 < len(found.items) < found.total else ""
    text = f"{found.total:,} of {found.tokens:,} tokens ({share}){shown}"
    if found.total:
        text += f"; outputs {theme.number(found.low)} to {theme.number(found.high)}"
    chips = [
        html.Span([expert_chip(expert), f" {count:,}"], className="expert-count")
        for expert, count in list(found.expert_tokens.items())[:MOST_CHIPS]
    ]
    head = html.Div(
        [html.Span(text, className="range-text"), html.Span(list(moves), className="row")],
        className="row between",
    )
    return html.Div([head, html.Div(chips, className="expert-counts") if chips else None])


def outputs_list(found: NeuronOutputs) -> Component:
    """The tokens of a range, each with its expert where one is known."""
    if not found.items:
        return note("No token has an output in this range.")
    chips = {token.position: expert_chip(token.expert) for token in found.items if token.expert is not None}
    return token_list(found.items, chips or None)


def pairs_view(found: NeuronPairs) -> list[Component]:
    """The scatter and the hardest pairs as text."""
    if not found.pairs:
        return [note(figures.pairs_summary(found))]
    drawn = f"{len(found.input_distances):,} of {found.pairs:,} pairs are drawn"
    left = f"; {found.left_out:,} pairs of identical inputs are left out" if found.left_out else ""
    return [
        html.Div(
            [
                html.Div(
                    [
                        graph(ids.PAIRS_GRAPH, figures.pairs_figure(found), figures.pairs_summary(found)),
                        note(
                            f"{drawn}{left}. MD is the mean of output distance over input distance (Eq. 2): the slope of the "
                            f"dashed line. Distances are over {theme.number(found.input_scale)} for inputs (the layer's largest) "
                            f"and {theme.number(found.output_scale)} for outputs (this neuron's median). MD ranks neurons within "
                            "this layer; it does not compare across layers."
                        ),
                    ]
                ),
                html.Div(
                    [
                        html.H3("Hardest pairs: inputs alike, outputs apart", className="card-title"),
                        html.Ol(
                            [
                                _pair(
                                    pair.first,
                                    pair.second,
                                    pair.difficulty,
                                    (pair.input_distance, pair.output_distance),
                                )
                                for pair in found.hardest
                            ],
                            className="hard-pairs",
                        ),
                    ]
                ),
            ],
            className="pair pairs-pair",
        )
    ]


def _pair(
    first: OutputToken, second: OutputToken, difficulty: float, distances: tuple[float, float]
) -> Component:
    words = f"inputs {theme.number(distances[0])}, outputs {theme.number(distances[1])} apart: adds {theme.number(difficulty)}"
    return html.Li([html.Div(words, className="muted small"), _token(first), _token(second)])


def _token(token: OutputToken) -> Component:
    chip = None if token.expert is None else html.Span(expert_chip(token.expert), className="token-expert")
    value = html.Span(theme.number(token.value), className="token-value", title=repr(token.value))
    where = f"token {token.position:,}: window {token.window}, place {token.offset}"
    return html.Div([value, chip, context(token)], className="pair-token", title=where)
