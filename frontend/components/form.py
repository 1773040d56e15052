"""The form that starts an explore run; every field says what it is for."""

from __future__ import annotations

from collections.abc import Sequence

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from app.schemas.corpus import Corpus
from app.schemas.model import ModelInspection, ModelSources
from app.schemas.run import RunRequest
from frontend import ids, theme
from frontend.components.common import note

ORDER = ["label", "input", "error", "description"]
"""Descriptions differ in length: below the fields, they leave the fields in one line."""

NUMBERS = (
    (
        "tokens",
        ids.FORM_TOKENS,
        "Tokens",
        "Taken from the start of the corpus. More tokens, a lower Gaussian floor.",
    ),
    ("window", ids.FORM_WINDOW, "Window", "Tokens the model reads at once; at most its context length."),
    ("pairs", ids.FORM_PAIRS, "Pairs", "Random pairs of tokens for MD; at most half the tokens are used."),
    ("top_share", ids.FORM_TOP_SHARE, "Top share", "Share of a layer, by WD, called Wasserstein neurons."),
    ("seed", ids.FORM_SEED, "Seed", "Seed of the pairs and of the random tokens."),
)
"""Field of the request, id, label and what it is for."""


def explore_form(models: ModelSources, corpora: Sequence[Corpus]) -> Component:
    """Model, corpus and settings, with the defaults of the schema."""
    default = RunRequest()
    first = models.items[0].source if models.items else default.model
    fields = [
        dmc.Autocomplete(
            id=ids.FORM_MODEL,
            label="Model",
            data=[item.source for item in models.items],
            value=first,
            description=f"One of the list, or any name of the forms {', '.join(models.forms)}.",
            inputWrapperOrder=ORDER,
            debounce=True,  # a name is looked up when it is whole, not letter by letter
        ),
        dmc.Select(
            id=ids.FORM_CORPUS,
            label="Corpus",
            data=[{"value": item.name, "label": item.title} for item in corpora],
            value=default.corpus,
            allowDeselect=False,
            description="The text whose tokens are run through the model. More can be posted through the API.",
            inputWrapperOrder=ORDER,
        ),
        *(_number(name, label, getattr(default, field), words) for field, name, label, words in NUMBERS),
    ]
    return html.Div(
        [
            html.Div(fields, className="form-grid"),
            html.Div(id=ids.FORM_ESTIMATE, className="estimate", **{"aria-live": "polite"}),
            dmc.Button("Start the run", id=ids.FORM_SUBMIT),
            html.Div(id=ids.FORM_ANSWER, **{"aria-live": "polite"}),
        ],
        id=ids.FORM,
    )


def _number(name: str, label: str, value: float, description: str) -> Component:
    whole = isinstance(value, int)
    return dmc.NumberInput(
        id=name,
        label=label,
        value=value,
        description=description,
        inputWrapperOrder=ORDER,
        allowDecimal=not whole,
        allowNegative=False,
        clampBehavior="none",
        step=1 if whole else 0.01,
        thousandSeparator="," if whole else "",
    )


def estimate_text(found: ModelInspection) -> Component:
    """What a run would take, from the headers of the model's files."""
    words = (
        f"{found.title}: {found.family}, {found.blocks} blocks, {theme.count(found.neurons)} neurons, "
        f"{theme.count(found.parameters)} weights."
    )
    cost = found.estimate
    if cost is None:
        return note(words)
    return note(
        f"{words} For {theme.count(cost.tokens)} tokens: about {theme.duration(cost.seconds)}, "
        f"{cost.host_bytes / 1e9:.2g} GB of memory, {cost.store_bytes / 1e9:.2g} GB in the store ({cost.basis})."
    )
