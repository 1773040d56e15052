"""Overlay and experts: what is drawn is what was counted, in the colours that keep their meaning."""

from __future__ import annotations

import numpy as np
import pytest

from app.schemas.distribution import ExpertOutputs
from frontend import theme
from frontend.figures import effects as figures
from tests.unit.figures import fake_variants as fake


def found(pruning: bool = True, expansion: bool = True, experts: int = 16):  # type: ignore[no-untyped-def]
    return fake.distributions(fake.LAYER, fake.PROJECTION, 12, pruning, expansion, experts)


@pytest.mark.parametrize("log", [False, True])
def test_the_overlay_draws_every_distribution_in_its_own_colour(log: bool) -> None:
    neuron = found()
    dense, sparse, expanded, gaussian = figures.overlay_figure(neuron, log).data
    assert [dense.name, sparse.name, expanded.name, gaussian.name] == [
        "dense",
        "sparse",
        "expanded",
        "Gaussian",
    ]
    assert dense.marker.color == theme.DENSE
    assert [t.line.color for t in (sparse, expanded, gaussian)] == [
        theme.SPARSE,
        theme.EXPANDED,
        theme.GAUSSIAN,
    ]
    assert gaussian.line.dash == "dash"
    assert list(dense.y) == neuron.dense
    assert list(sparse.customdata) == neuron.pruning.counts
    assert list(expanded.customdata) == neuron.expansion.counts
    assert list(gaussian.customdata) == neuron.gaussian
    assert dense.x[0] == pytest.approx(neuron.low + neuron.width / 2)


def test_empty_bins_are_below_a_log_axis_and_not_missing() -> None:
    figure = figures.overlay_figure(found(), log=True)
    bottom = 10 ** figure.layout.yaxis.range[0]
    sparse = np.asarray(figure.data[1].y)
    assert figure.layout.yaxis.type == "log"
    assert np.isfinite(sparse).all()
    assert sparse.min() < bottom


@pytest.mark.parametrize(
    ("pruning", "expansion", "names"),
    [(True, False, ["dense", "sparse", "Gaussian"]), (False, True, ["dense", "expanded", "Gaussian"])],
)
def test_what_is_not_chosen_is_not_drawn(pruning: bool, expansion: bool, names: list[str]) -> None:
    figure = figures.overlay_figure(found(pruning, expansion), False)
    assert [trace.name for trace in figure.data] == names
    assert figure.layout.showlegend


def test_the_axis_reaches_as_far_as_tokens_do() -> None:
    neuron = found()
    low, high = figures.shown_range(neuron)
    middle = figures.centres(neuron)
    taken = np.asarray(neuron.dense) + neuron.pruning.counts + neuron.expansion.counts > 0
    assert low < middle[taken].min()
    assert high > middle[taken].max()
    assert low >= neuron.low - 2 * neuron.width - 1e-9


def test_a_constant_neuron_has_no_gaussian() -> None:
    neuron = found(expansion=False).model_copy(update={"std": 0.0, "width": 0.0})
    figure = figures.overlay_figure(neuron, False)
    assert [trace.name for trace in figure.data] == ["dense", "sparse"]
    assert figure.layout.xaxis.range[1] > figure.layout.xaxis.range[0]


def test_tokens_beyond_the_bins_are_said() -> None:
    neuron = found()
    assert neuron.pruning.counts[0] == 0
    assert figures.beyond(neuron) == ""
    neuron.pruning.counts[0] = 7
    neuron.expansion.counts[-1] = 2
    assert "7 sparse, 2 expanded" in figures.beyond(neuron)


@pytest.mark.parametrize(
    ("experts", "shape"), [(1, (1, 1)), (2, (1, 2)), (5, (2, 3)), (16, (4, 4)), (64, (8, 8))]
)
def test_a_panel_per_expert_on_the_same_axes(experts: int, shape: tuple[int, int]) -> None:
    neuron = found(experts=experts)
    assert figures.panel_shape(experts) == shape
    figure = figures.experts_figure(neuron)
    outlines, panels = figure.data[0::2], figure.data[1::2]
    assert len(panels) == experts
    for outline, panel, expert in zip(outlines, panels, neuron.expansion.experts, strict=True):
        assert list(panel.customdata) == expert.counts
        assert list(panel.y) == pytest.approx(np.asarray(expert.counts) / expert.tokens)
        assert panel.line.color == theme.EXPERTS[expert.expert % 16]
        assert list(outline.y) == pytest.approx(np.asarray(neuron.dense) / neuron.tokens)
        assert outline.line.color == theme.GAUSSIAN
    assert len({tuple(axis.range) for axis in figure.select_yaxes()}) == 1
    assert len({tuple(axis.range) for axis in figure.select_xaxes()}) == 1


def test_stacked_experts_are_the_expanded_neuron() -> None:
    neuron = found()
    figure = figures.stacked_figure(neuron)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert figure.layout.barmode == "stack"
    assert [bar.marker.color for bar in bars] == list(theme.EXPERTS)
    assert np.sum([bar.y for bar in bars], axis=0).tolist() == neuron.expansion.counts
    assert list(figure.data[-1].y) == neuron.dense
    assert figure.data[-1].line.color == theme.DENSE


def test_titles_of_panels_say_size_and_wd() -> None:
    neuron = found()
    titles = [note.text for note in figures.experts_figure(neuron).layout.annotations]
    assert f"<b>0</b>  {neuron.expansion.experts[0].tokens:,} tokens, no WD" in titles
    assert f"<b>5</b>  {neuron.expansion.experts[5].tokens:,} tokens, WD 0.0500" in titles


def test_of_very_many_experts_the_largest_are_drawn() -> None:
    experts = [ExpertOutputs(expert=i, tokens=i % 100, counts=[], wd=None) for i in range(200)]
    drawn = figures.drawn_experts(experts)
    assert len(drawn) == figures.MOST_PANELS
    assert min(expert.tokens for expert in drawn) == 68
    assert [expert.expert for expert in drawn] == sorted(expert.expert for expert in drawn)


def test_summaries_tell_the_numbers() -> None:
    neuron = found()
    words = figures.overlay_summary(neuron)
    for text in (
        f"sparse WD {theme.number(neuron.pruning.wd)}",
        "W1 to dense",
        f"RI {theme.number(neuron.ri)}",
    ):
        assert text in words
    assert "16 experts of" in figures.experts_summary(neuron)
    assert figures.experts_summary(found(expansion=False)) == "No experts."


def test_the_experts_have_sixteen_colours_and_ink_that_is_read_on_them() -> None:
    assert len(set(theme.EXPERTS)) == 16
    assert theme.expert_colour(17) == theme.EXPERTS[1]
    assert (theme.ink_on("#FFFFFF"), theme.ink_on("#000000")) == ("#000000", "#FFFFFF")
    assert not {theme.DENSE, theme.SPARSE, theme.EXPANDED} & set(theme.EXPERTS)
