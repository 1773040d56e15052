"""Cards of a neuron's page: distribution, experts, pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dash import html
from dash.development.base_component import Component

from app.schemas.distribution import NeuronDistributions
from app.schemas.expansion import ExpertTokens
from app.schemas.neuron import NeuronDetail
from app.schemas.outputs import LayerOutputs, NeuronPairs
from frontend import ids, theme
from frontend.components.common import card, graph, note, tabs
from frontend.components.experts import experts_table
from frontend.components.exports import export_menu
from frontend.components.outputs import offer, pairs_view
from frontend.figures import effects
from frontend.figures import neuron as figures
from frontend.figures.shown import Shown
from frontend.neuron_view import BINS, View, here
from frontend.pages.chosen import Chosen
from frontend.paths import Place
from frontend.queries import Query

EXPERT_VIEWS = {"": "each", "stacked": "stacked", "tokens": "tokens"}
"""What the experts' card shows, by the query's entry: a panel for each, all stacked, or what goes to each."""


@dataclass(frozen=True)
class Seen:
    """A neuron, and how it is looked at."""

    place: Place
    view: View
    neuron: NeuronDetail
    outputs: LayerOutputs
    """Whether its layer's outputs are stored."""
    chosen: Chosen
    """The pruning and the expansion that can be shown of it."""
    changed: NeuronDistributions | None
    """What they made of it."""

    def query(self, method: str, **named: Any) -> Query:
        """A call of the client about this neuron."""
        return neuron_query(self.place, method, **named)

    @property
    def distribution(self) -> Query:
        """The call that answers what the distribution's card shows."""
        return (
            self.query("neuron") if self.changed is None else self.query("distributions", **self.chosen.names)
        )

    def here(self, **changes: str | None) -> str:
        """This page's address with another view of it."""
        return here(self.place, **changes)


def neuron_query(place: Place, method: str, **named: Any) -> Query:
    """A call of the client about the neuron at `place`."""
    return Query(method, (place.run or "", place.layer, place.projection, place.index), named)


def distribution_title(neuron: NeuronDetail) -> str:
    """WD with the floor it is to be read against."""
    if neuron.wd is None:
        return "Distribution: a constant neuron has no WD"
    floor = theme.number(neuron.provenance.gaussian_floor)
    return f"Distribution: WD {theme.number(neuron.wd)} (floor {floor})"


def distribution_card(seen: Seen) -> Component:
    """The outputs beside the Gaussian, and beside what was made of them; a range can be brushed."""
    view, changed, neuron = seen.view, seen.changed, seen.neuron
    shown = Shown(view.standard, view.bins, view.chosen)
    if changed is None:
        figure, summary = (
            figures.distribution_figure(neuron, view.log, shown),
            figures.distribution_summary(neuron),
        )
        words = ""
    else:
        figure, summary = effects.overlay_figure(changed, view.log, shown), effects.overlay_summary(changed)
        words = f" All are counted in the same bins. Click a name above to hide it. {effects.beyond(changed)}"
    return card(
        distribution_title(neuron),
        graph(ids.DISTRIBUTION_GRAPH, figure, summary, brush=True),
        html.Div(id=ids.BRUSH_ANSWER),
        note(
            "Draw across the plot to see the tokens of that range. Dashed: the Gaussian of the same mean and standard "
            f"deviation. The floor is the WD a true Gaussian sample of as many tokens has on average.{words}".rstrip()
        ),
        tools=[
            *_axes(seen),
            export_menu("distribution", seen.distribution, seen.place.origin, ids.DISTRIBUTION_GRAPH),
        ],
        id="distribution",
    )


def _axes(seen: Seen) -> list[Component]:
    """Links that change how the distribution is drawn."""
    view = seen.view
    most = BINS[0] if seen.changed is None else effects.INNER_BINS
    bins = [
        (str(n), seen.here(bins=None if n == most else str(n)), n == min(view.bins, most))
        for n in BINS
        if n <= most
    ]
    return [
        tabs(
            "y axis",
            [("linear", seen.here(y=None), not view.log), ("log", seen.here(y="log"), view.log)],
        ),
        tabs(
            "x axis",
            [
                ("raw", seen.here(x=None), not view.standard),
                ("standardised", seen.here(x="standard"), view.standard),
            ],
        ),
        tabs("bins", bins),
    ]


def expert_card(seen: Seen, found: NeuronDistributions, experts: list[ExpertTokens] | None) -> Component:
    """The experts of an expansion: a panel for each, all stacked, or what goes to each."""
    view = seen.place.query.get("experts", "")
    view = view if view in EXPERT_VIEWS else ""
    shares = found.expansion.experts if found.expansion else []
    items = [(title, seen.here(experts=name or None), name == view) for name, title in EXPERT_VIEWS.items()]
    query, plot = seen.distribution, ids.EXPERTS_GRAPH
    if view == "tokens":
        body = [experts_table(experts or [], {expert.expert: expert.wd for expert in shares})]
        place = seen.place
        query = Query(
            "experts", (place.run or "", seen.chosen.names["expansion"] or "", place.layer, place.projection)
        )
        plot = ""
    else:
        stacked = view == "stacked"
        figure = effects.stacked_figure(found) if stacked else effects.experts_figure(found)
        body = [
            graph(ids.EXPERTS_GRAPH, figure, effects.experts_summary(found)),
            note(_experts_note(len(shares), stacked)),
        ]
    weighted = found.expansion.weighted_wd if found.expansion else None
    return card(
        f"Experts: {len(shares)}, weighted WD {theme.number(weighted)}",
        *body,
        tools=[
            tabs("what of the experts", items),
            export_menu("experts", query, seen.place.origin, plot or None),
        ],
        id=ids.EXPERTS,
    )


def _experts_note(experts: int, stacked: bool) -> str:
    words = (
        "In tokens, one expert on top of the other: together they are the expanded neuron. Blue: the dense outputs."
        if stacked
        else "Each in shares of its own tokens, on the same axes; a peak that leaves the top is that of a cluster with few "
        "or nearly equal outputs. Grey: all dense outputs."
    )
    if experts > effects.MOST_PANELS:
        words += f" The {effects.MOST_PANELS} largest of {experts:,} are drawn."
    return words


def pairs_card(seen: Seen, found: NeuronPairs | None) -> Component:
    """The pairs behind MD; the offer to store the outputs where they are not."""
    made, md = seen.neuron.provenance, theme.number(seen.neuron.md)
    title = f"Pairs: MD {md} over {made.pairs:,} pairs of tokens"
    if found is None:
        what = "Which pairs of tokens make MD: how far apart their inputs are, and how far apart this neuron puts them."
        return card(title, offer(seen.outputs, "pairs", what), id=ids.PAIRS)
    tools = export_menu("pairs", pairs_query(seen.place, seen.chosen), seen.place.origin, ids.PAIRS_GRAPH)
    return card(title, *pairs_view(found), tools=tools, id=ids.PAIRS)


def pairs_query(place: Place, chosen: Chosen) -> Query:
    """The call that answers the pairs."""
    return neuron_query(place, "pairs", expansion=chosen.names["expansion"])
