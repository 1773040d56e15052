"""The frame around every page: header, breadcrumbs, the place the page goes to."""

from __future__ import annotations

from collections.abc import Sequence

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from app.schemas.run import Run
from frontend import ids, paths, theme
from frontend.components.common import link, skeleton

STATUS_MILLISECONDS = 2000
"""How often a service that does not answer is asked again."""


def shell() -> Component:
    """The layout of the app; pages come and go inside it."""
    body = [
        dcc.Location(id=ids.URL, refresh="callback-nav"),
        dcc.Store(id=ids.RELOAD, data=0),
        dcc.Store(id=ids.RUN_SHOWN),
        dcc.Store(id=ids.MADE_FOR),
        dcc.Store(id=ids.SET_VIEW),
        dcc.Store(id=ids.OPEN_ROW),
        html.A("Skip to the content", href=f"#{ids.PAGE}", className="skip"),
        _header(),
        html.Nav(id=ids.BREADCRUMBS, className="breadcrumbs", **{"aria-label": "breadcrumbs"}),
        html.Div(id=ids.STATUS, className="unforeseen"),
        html.Div(id=ids.UNFORESEEN, className="unforeseen"),
        html.Main(skeleton(), id=ids.PAGE, className="page", tabIndex="-1"),
        dmc.Drawer(
            html.Div(id=ids.DRAWER_BODY),
            id=ids.DRAWER,
            opened=False,
            position="right",
            size=560,
            zIndex=250,
            closeButtonProps={"aria-label": "close"},
        ),
    ]
    return dmc.MantineProvider(
        html.Div(body, className="shell"), theme=theme.MANTINE, defaultColorScheme="auto"
    )


def _header() -> Component:
    return html.Header(
        [
            dcc.Link([html.Span(className="logo"), "Wasserscope"], href="/", className="brand"),
            dmc.Select(
                id=ids.RUN_SELECT,
                data=[],
                placeholder="no runs yet",
                searchable=True,
                nothingFoundMessage="no such run",
                allowDeselect=False,
                size="sm",
                className="run-select",
                **{"aria-label": "run"},
            ),
            dmc.TextInput(
                id=ids.JUMP,
                placeholder="/  block.projection.neuron",
                size="sm",
                className="jump",
                debounce=True,  # the value goes out together with Enter, never after it
                **{"aria-label": "go to a neuron, as block.projection.index, for example 15.up_proj.402"},
            ),
            html.Span(className="spacer"),
            link("Map", "/", className="header-link"),
            link("Jobs", "/jobs", id=ids.JOBS_LINK, className="header-link"),
            html.Button(
                "?",
                id=ids.KEYS_BUTTON,
                type="button",
                className="keys-button",
                title="keys",
                **{"aria-label": "list of keys"},
            ),
            html.A("API", href="/api/docs", className="header-link", title="REST API"),
            dmc.ColorSchemeToggle(
                id=ids.THEME_TOGGLE,
                lightIcon=html.Span("☀", className="scheme-icon"),
                darkIcon=html.Span("☾", className="scheme-icon"),
                variant="subtle",
                size="lg",
                color="gray",
                **{"aria-label": "light or dark"},
            ),
        ],
        className="header",
    )


def service_status(title: str, detail: str) -> Component:
    """Said on every page while something that is needed does not answer; it looks again by itself until it does."""
    words = "What is stored can be looked at; new work can be started once it answers. This page goes on by itself."
    return html.Div(
        [
            html.Strong(f"{title}. "),
            html.Span(f"{words} ", title=detail),
            dcc.Interval(id=ids.STATUS_TICK, interval=STATUS_MILLISECONDS),
        ],
        className="status-strip",
        role="status",
    )


def run_title(run: Run) -> str:
    """A run in a line."""
    corpus = run.corpus_title or run.request.corpus
    return f"{run.model.title} / {corpus} / {run.tokens or run.request.tokens:,} tokens"


def run_choices(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Runs for the selector."""
    return [{"value": run.id, "label": _short_title(run)} for run in runs]


def _short_title(run: Run) -> str:
    """A run in a short line: the corpus by its name, unless that is a number."""
    named = not run.request.corpus.startswith("text:") or not run.corpus_title
    corpus = run.request.corpus if named else run.corpus_title
    state = "" if run.state == "finished" else f" ({run.state})"
    return f"{run.model.title} / {corpus} / {run.tokens or run.request.tokens:,} tokens{state}"


def breadcrumbs(place: paths.Place) -> list[Component]:
    """Where one is: map > block > neuron."""
    kept = paths.variants(place.query) if place.run else {}
    steps: list[tuple[str, str]] = [
        ("Map", paths.with_query(paths.run_path(place.run) if place.run else "/", kept))
    ]
    if place.page in {"layer", "neuron", "sweep"} and place.run:
        layer = paths.with_query(paths.layer_path(place.run, place.layer, place.projection), kept)
        steps.append((f"block {place.layer} · {place.projection}", layer))
    if place.page == "neuron" and place.run:
        steps.append((f"neuron {place.index}", ""))
    elif place.page == "sweep" and place.run:
        neuron = paths.neuron_path(place.run, place.layer, place.projection, place.index)
        steps += [(f"neuron {place.index}", paths.with_query(neuron, kept)), ("sweep", "")]
    elif place.page in {"jobs", "job"}:
        steps.append(("Jobs", "/jobs"))
        if place.page == "job":
            steps.append((place.job, ""))
    elif place.page in {"variants", "evaluation"} and place.run:
        steps.append(("Variants", paths.with_query(paths.variants_path(place.run), kept)))
        if place.page == "evaluation":
            steps.append((place.evaluation, ""))
    elif place.page == "new":
        steps.append(("New run", ""))
    elif place.page == "nowhere":
        steps.append(("Not found", ""))
    crumbs: list[Component] = []
    for number, (text, href) in enumerate(steps):
        if number:
            crumbs.append(html.Span("›", className="crumb-sep", **{"aria-hidden": "true"}))
        last = number == len(steps) - 1
        crumbs.append(
            html.Span(text, className="crumb here") if last else link(text, href, className="crumb")
        )
    return crumbs
