"""Prunings and expansions on every page: the two selectors, the buttons that make more, and what is not done yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from app.schemas.expansion import Expansion
from app.schemas.pruning import Pruning
from app.schemas.variant import Cluster, LayerResult, Variant, VariantKind
from frontend import ids, theme
from frontend.components.common import Children, button_link, note

NONE = "none"
"""Value of a selector that chooses nothing."""
VERBS = {VariantKind.pruning: "Prune…", VariantKind.expansion: "Expand…"}
DONE = {VariantKind.pruning: "pruned", VariantKind.expansion: "expanded"}
COLOURS = {VariantKind.pruning: theme.SPARSE, VariantKind.expansion: theme.EXPANDED}


def variant_bar(
    prunings: Sequence[Pruning],
    expansions: Sequence[Expansion],
    pruning: Pruning | None,
    expansion: Expansion | None,
    unknown: Mapping[VariantKind, str],
    more: str | None = None,
) -> Component:
    """Which pruning and which expansion the page shows, and the buttons that make new ones like them.

    more: where they are evaluated and exported.
    """
    return html.Div(
        [
            _select(VariantKind.pruning, prunings, pruning, unknown.get(VariantKind.pruning)),
            _select(VariantKind.expansion, expansions, expansion, unknown.get(VariantKind.expansion)),
            html.Span(className="spacer"),
            form_button(VariantKind.pruning, "bar", pruning or expansion),
            form_button(VariantKind.expansion, "bar", expansion or pruning),
            button_link("Evaluate, export…", more) if more else None,
        ],
        id=ids.VARIANT_BAR,
        className="variant-bar",
    )


def _select(
    kind: VariantKind, found: Sequence[Variant], chosen: Variant | None, unknown: str | None
) -> Component:
    known = list(found) if chosen is None or chosen in found else [chosen, *found]
    strange = [] if unknown is None else [{"value": unknown, "label": f"{unknown} (not in this run)"}]
    data = [{"value": NONE, "label": "none" if known else f"none yet: {VERBS[kind]}"}]
    data += [{"value": variant.id, "label": f"{variant.title} ({extent(variant)})"} for variant in known]
    data += strange
    label = str(kind).capitalize()
    value = chosen.id if chosen else unknown or NONE
    return dmc.Select(
        id=ids.view(kind, value),
        data=data,
        value=value,
        allowDeselect=False,
        searchable=len(known) > 8,
        nothingFoundMessage="no such one",
        checkIconPosition="right",
        size="sm",
        className="variant-select",
        leftSection=html.Span(
            [html.Span(className="swatch", style={"background": COLOURS[kind]}), label],
            className="select-label",
        ),
        leftSectionWidth=112,
        comboboxProps={"withinPortal": True},
        **{"aria-label": label},
    )


def extent(variant: Variant) -> str:
    """How many layers are done."""
    if variant.complete:
        return f"all {variant.layers_total:,} layers"
    return f"{len(variant.layers):,} of {variant.layers_total:,} layers"


def form_button(
    kind: VariantKind, where: str, like: Variant | None = None, text: str = "", primary: bool = False
) -> Component:
    """Opens the form; its fields start as `like` was made."""
    return dmc.Button(
        text or VERBS[kind],
        id=ids.open_form(kind, where, like.id if like else ""),
        variant="filled" if primary else "default",
        size="xs",
        h=30,
        fz=14,
        fw=400,
    )


def unknown_variants(names: Sequence[str], without: Component) -> Component:
    """What the address names and the run does not have."""
    return html.Section(
        [
            html.H2("Not in this run", className="card-title"),
            html.P(f"The address names {' and '.join(names)}: this run has no such pruning or expansion."),
            html.P(without, className="hint"),
        ],
        id=ids.VARIANT_MISSING,
        className="card error",
        role="alert",
    )


def undone_state(variant: Pruning | Expansion, where: str, at_work: bool) -> Component:
    """A layer that the chosen variant has not done: why there is nothing, and the button that does it."""
    kind = VariantKind.pruning if isinstance(variant, Pruning) else VariantKind.expansion
    done = f"{variant.title} has done {extent(variant)}"
    if at_work:
        words = f"{done}. A job is at work on it; this page follows it."
        return html.Div(
            [html.H3(f"This layer is not {DONE[kind]} yet", className="card-title"), note(words)],
            className="undone",
        )
    return html.Div(
        [
            html.H3(f"This layer is not {DONE[kind]} yet", className="card-title"),
            note(f"{done}, and not {where}."),
            form_button(
                kind, "undone", variant, f"{VERBS[kind].removesuffix('…')} this layer the same way…", True
            ),
        ],
        className="undone",
    )


def uncompared_state(variant: Pruning | Expansion) -> Component:
    """A layer that is done and whose outputs were not compared."""
    kind = VariantKind.pruning if isinstance(variant, Pruning) else VariantKind.expansion
    words = (
        f"{variant.title} was made without comparing outputs: there are weights, and nothing to show of a neuron. "
        "The form makes it again with the comparison."
    )
    return html.Div(
        [
            html.H3("Outputs were not compared", className="card-title"),
            note(words),
            form_button(kind, "uncompared", variant),
        ],
        className="undone",
    )


def undone_metric(words: str) -> Component:
    """In the place of a plot whose metric needs what is not chosen."""
    return html.Div([html.H3("Nothing to show yet", className="card-title"), note(words)], className="undone")


def result_facts(title: str, colour: str, result: LayerResult) -> Component:
    """What became of a layer, in numbers counted in its new weights."""
    clusters = result.clusters
    facts: list[tuple[str, Children, str]] = [
        (
            "zeros",
            theme.percent(result.sparsity),
            f"{result.zeros:,}, counted in the new weights"
            + (f" of all {len(clusters)} experts" if clusters else f" of {result.weights:,}"),
        ),
        (
            "relative output error",
            theme.number(result.relative_error),
            f"{result.relative_error}: squared error over the outputs' variance, on the calibration tokens",
        ),
    ]
    if result.damping is not None:
        words = "the largest of all experts" if clusters else "share of the Hessian's mean diagonal"
        facts.append(("damping used", theme.number(result.damping), words))
    if result.dead_inputs:
        facts.append(
            ("dead inputs", theme.count(result.dead_inputs), "inputs that are 0 for every token; pruned away")
        )
    facts += [(f"zeros, {name}", theme.percent(share), str(share)) for name, share in result.sets.items()]
    if clusters:
        facts += _cluster_facts(clusters)
    facts.append(("made in", theme.duration(result.seconds), f"{result.seconds:.3g} s"))
    return html.Div(
        [
            html.H3(
                [html.Span(className="swatch", style={"background": colour}), title], className="card-title"
            ),
            html.Dl(
                [
                    html.Div([html.Dt(name), html.Dd(value, title=words)], className="fact wide")
                    for name, value, words in facts
                ]
            ),
        ],
        className="result",
    )


def _cluster_facts(clusters: Sequence[Cluster]) -> list[tuple[str, Children, str]]:
    sizes = [cluster.tokens for cluster in clusters]
    shared = [cluster for cluster in clusters if cluster.own_share < 1]
    facts: list[tuple[str, Children, str]] = [
        ("experts", f"{len(sizes)} of {min(sizes):,} to {max(sizes):,} tokens", "calibration tokens"),
    ]
    if shared:
        facts.append(
            (
                "Hessians shared",
                f"{len(shared)} of {len(sizes)}",
                "Experts with fewer tokens than the layer is wide: part of their Hessian is that of all tokens ("
                + ", ".join(f"{c.expert}: own {100 * c.own_share:.0f} %" for c in shared)
                + ")",
            )
        )
    return facts
