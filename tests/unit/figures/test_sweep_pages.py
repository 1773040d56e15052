"""The sweep page and what is pinned beside a page, fed by the real API on a store of known numbers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import plotly.graph_objects as go
import plotly.utils
import pytest

from app.client import AsyncClient
from app.main import create_server
from app.schemas.layer import MapQuery
from app.schemas.sweep import NeuronSweep
from app.settings import Settings
from app.store import Store
from frontend import ids, paths, theme
from frontend.components.pin import pin_tools
from frontend.components.sweep import request_of
from frontend.figures import compare as compared
from frontend.figures import sweep as figures
from frontend.form_errors import FormErrors
from frontend.pages import router
from tests.unit.store.made import make_run, wd
from tests.unit.store.test_differences import make_other, other_wd
from tests.unit.store.test_sweeps import REQUEST, write

FORM: dict[str, Any] = {
    "sparsities": "0, 50, 90 %",
    "patterns": "2:4",
    "experts": 4,
    "expert_counts": "1, 4",
    "at": 90,
    "damping": 0.01,
    "reduction": 32,
    "seed": 0,
}
PATTERNED = REQUEST.model_copy(update={"patterns": ("2:4",)})


class Bench:
    """A store with a run, and pages rendered from it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(str(folder / "store"))
        self.run = make_run(self.store)
        self.neuron = f"/runs/{self.run}/layers/1/gate_proj/neurons/3"

    def page(self, path: str, **query: str) -> tuple[str, dict[str, Any]]:
        """A page as text, and its parts by id."""
        place = paths.read(path, paths.with_query("", query))

        async def render() -> Any:
            server = create_server(Settings(store=self.store.files.url, redis_url=None))
            client = AsyncClient("http://there", transport=httpx.ASGITransport(app=server))  # type: ignore[arg-type]
            return await router.render(client, place)

        text = json.dumps(asyncio.run(render()), cls=plotly.utils.PlotlyJSONEncoder, ensure_ascii=False)
        return text, _by_id(json.loads(text))

    def sweep(self) -> NeuronSweep:
        return self.store.neuron_sweep(self.run, 1, "gate_proj", 3, write(self.store, self.run, PATTERNED))


def _by_id(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(part, list):
        for one in part:
            found |= _by_id(one)
    elif isinstance(part, dict):
        props = part.get("props", {})
        if isinstance(props.get("id"), str):
            found[props["id"]] = props
        for value in props.values() if "props" in part else part.values():
            found |= _by_id(value)
    return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_stops_are_by_sparsity_with_their_patterns_between(bench: Bench) -> None:
    every = figures.stops(bench.sweep())
    assert [stop.title for stop in every] == ["50 %", "2:4", "90 %"]
    for stop in every:
        assert (stop.sparse.experts, stop.expanded.experts) == (1, 2)
        assert stop.sparse.sparsity == stop.expanded.sparsity
        assert stop.sparse.pattern == stop.expanded.pattern


def test_axes_are_the_same_at_every_stop(bench: Bench) -> None:
    found = bench.sweep()
    for log in (False, True):
        drawn = [figures.distribution_figure(found, place, log) for place in range(3)]
        assert len({json.dumps(figure.layout.to_plotly_json(), default=str) for figure in drawn}) == 1
        for place, figure in enumerate(drawn):
            stop = figures.stops(found)[place]
            assert [trace.marker.color or trace.line.color for trace in figure.data] == [
                theme.DENSE,
                theme.SPARSE,
                theme.EXPANDED,
            ]
            assert list(figure.data[1].customdata) == stop.sparse.counts
            assert list(figure.data[2].customdata) == stop.expanded.counts
    low, high = figures.shown_range(found)
    for point in found.points:  # no token falls outside
        places = np.flatnonzero(point.counts)
        assert low <= found.low + found.width * places.min()
        assert found.low + found.width * (places.max() + 1) <= high


def test_curves_hold_every_number_of_the_neuron(bench: Bench) -> None:
    found = bench.sweep()
    figure = figures.curves_figure(found, 1)
    every = figures.stops(found)
    drawn = {
        (trace.name, trace.xaxis or "x"): list(trace.y)
        for trace in figure.data
        if trace.mode == "lines+markers"
    }
    plain = [every[0], every[2]]
    assert drawn["sparse", "x"] == [stop.sparse.relative_rmse for stop in plain]
    assert drawn["expanded", "x2"] == [stop.expanded.w1 for stop in plain]
    assert drawn["expanded", "x4"] == [stop.expanded.ri for stop in plain]
    assert ("sparse", "x4") not in drawn
    stars = [trace for trace in figure.data if trace.mode == "markers"]
    assert {(trace.x[0], trace.name) for trace in stars} == {(0.5, "2:4")}
    assert {shape.x0 for shape in figure.layout.shapes} == {0.5}
    experts = figures.experts_figure(found, PATTERNED)
    assert list(experts.layout.xaxis.categoryarray) == ["1", "2"]


def test_the_page_shows_a_finished_sweep_and_says_what_zeros_do_not_do(bench: Bench) -> None:
    sweep = write(bench.store, bench.run, PATTERNED)
    text, parts = bench.page(f"{bench.neuron}/sweep", zeros="90", y="log")
    assert parts[ids.SWEEP_SLIDER]["value"] == 2
    assert [mark["label"] for mark in parts[ids.SWEEP_SLIDER]["marks"]] == ["50 %", "2:4", "90 %"]
    data = parts[ids.SWEEP_DATA]["data"]
    found = bench.store.neuron_sweep(bench.run, 1, "gate_proj", 3, sweep)
    assert data["sparse"] == [stop.sparse.counts for stop in figures.stops(found)]
    assert data["words"][2] == parts[ids.SWEEP_WORDS]["children"]
    assert "Zeros take no time off" in text
    assert parts["sweep-row-2"]["className"] == "sweep-row current"
    assert parts[ids.NAV_NEXT]["href"].startswith(f"/runs/{bench.run}/layers/1/gate_proj/neurons/4/sweep?")
    assert "zeros=90" in parts[ids.NAV_NEXT]["href"]
    assert ids.SWEEP_SUBMIT in parts  # another can be started


def test_a_layer_without_a_sweep_has_the_form_open(bench: Bench) -> None:
    text, parts = bench.page(f"{bench.neuron}/sweep")
    assert "No sweep of this layer yet" in text
    assert ids.SWEEP_SUBMIT in parts
    assert ids.SWEEP_GRAPH not in parts
    assert "no such sweep" in bench.page(f"{bench.neuron}/sweep", sweep="s-000000000000")[0]
    assert "There is no neuron 70" in bench.page(bench.neuron.replace("/3", "/70") + "/sweep")[0]


def test_an_unfinished_sweep_says_how_far_it_is(bench: Bench) -> None:
    write(bench.store, bench.run, points=2)
    assert "2 of 5 points" in bench.page(f"{bench.neuron}/sweep")[0]


def test_the_form_makes_the_request_that_was_typed() -> None:
    made = request_of(FORM, 15, "up_proj")
    assert (made.sparsities, made.patterns, made.expert_counts) == ((0, 0.5, 0.9), ("2:4",), (1, 4))
    assert (made.layer, made.projection, made.experts, made.at) == (15, "up_proj", 4, 0.9)
    assert request_of(FORM | {"patterns": "", "expert_counts": ""}, 15, "up_proj").patterns == ()


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"sparsities": "0, many"}, "sparsities", "Numbers with commas"),
        ({"sparsities": "0, 90, 120"}, "sparsities", "Between 0 and 100"),
        ({"sparsities": ""}, "sparsities", "at least 1"),
        ({"patterns": "two of four"}, "patterns", "2:4"),
        ({"patterns": "5:4"}, "patterns", "is no pattern"),
        ({"at": 42}, "at", "not one of the sparsities"),
        ({"at": None}, "at", "needed"),
        ({"experts": 0}, "experts", "greater than or equal to 1"),
        ({"expert_counts": "1.5"}, "expert_counts", "integer"),
    ],
)
def test_the_form_says_what_is_wrong_with_which_field(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(FormErrors) as caught:
        request_of(FORM | change, 15, "up_proj")
    assert list(caught.value.fields) == [field]
    assert words in caught.value.fields[field]


def test_a_pin_is_read_as_it_was_made() -> None:
    for path in ("/runs/tiny-0123456789ab", "/runs/tiny-0123456789ab/layers/3/up_proj"):
        for more in ("", "/neurons/7") if "layers" in path else ("",):
            place = paths.read(path + more, "")
            text = paths.pin_of(place)
            pinned = paths.read_pin(text)
            assert pinned is not None
            assert paths.path_of(pinned) == path + more
    assert paths.pin_of(paths.read("/jobs", "")) is None
    for strange in (None, "", "a/b", "../../x/3/up_proj", "tiny-0123456789ab/x/up_proj", "a/b/c/d/e"):
        assert paths.read_pin(strange) is None


def test_pinning_and_letting_go_are_links(bench: Bench) -> None:
    place = paths.read(bench.neuron, "?y=log")
    [tools] = pin_tools(place)
    [pin] = tools.children
    assert pin.href == f"{bench.neuron}?y=log&pin={bench.run}%2F1%2Fgate_proj%2F3"
    assert pin.id == ids.NAV_PIN
    [tools] = pin_tools(paths.read(bench.neuron, f"?y=log&pin={bench.run}/1/gate_proj/3"))
    chip, unpin = tools.children
    assert (unpin.href, unpin.id) == (f"{bench.neuron}?y=log", ids.NAV_PIN)
    assert "pinned: neuron 3 of block 1" in str(chip.children)
    assert pin_tools(paths.read("/jobs", "")) == []


def test_two_neurons_share_axes_and_have_their_differences(bench: Bench) -> None:
    pin = f"{bench.run}/2/gate_proj/5"
    text, parts = bench.page(bench.neuron, pin=pin)
    assert "MD does not compare across layers" in text
    figure = go.Figure(parts[ids.COMPARE_GRAPH]["figure"])
    assert [(trace.name, trace.line.color) for trace in figure.data] == [
        ("this", theme.DENSE),
        ("pinned", theme.PINNED),
        ("Gaussian", theme.GAUSSIAN),
    ]
    own, other = (
        bench.store.neuron(bench.run, *place) for place in ((1, "gate_proj", 3), (2, "gate_proj", 5))
    )
    raw = compared.neurons_figure(own, other, raw=True)
    assert [trace.name for trace in raw.data] == ["this", "pinned"]
    assert min(raw.data[0].x) > own.distribution.low
    assert max(raw.data[0].x) < own.distribution.high
    for raw_or_not in (True, False):
        x, y = compared.density(own, raw_or_not) or (np.zeros(2), np.zeros(2))
        assert float((y * (x[1] - x[0])).sum()) == pytest.approx(1.0)
    mine, theirs = wd(1, "gate_proj")[3], wd(2, "gate_proj")[5]
    assert mine is not None
    assert theirs is not None
    assert theme.number(mine - theirs).lstrip("−") in json.dumps(
        parts[ids.COMPARE_NUMBERS], ensure_ascii=False
    )
    assert ids.COMPARE not in bench.page(bench.neuron, pin=f"{bench.run}/1/gate_proj/3")[1]
    assert ids.COMPARE not in bench.page(bench.neuron, pin=bench.run)[1]  # a run beside a neuron is nothing
    assert "Unpin it above" in bench.page(bench.neuron, pin=f"{bench.run}/9/gate_proj/5")[0]


def test_two_layers_lie_over_each_other(bench: Bench) -> None:
    text, parts = bench.page(f"/runs/{bench.run}/layers/1/gate_proj", pin=f"{bench.run}/2/down_proj")
    assert "this: block 1" in text
    assert {ids.COMPARE_GRAPH, ids.COMPARE_QUANTILES, ids.COMPARE_NUMBERS} <= set(parts)
    own = bench.store.layer_values(bench.run, 1, "gate_proj", [])
    values = [
        own.model_copy(update={"metrics": {"wd": wd(layer, name)}})
        for layer, name in ((1, "gate_proj"), (2, "down_proj"))
    ]
    apart = compared.quantile_difference(*values)
    ends = [
        [x for x in wd(layer, name) if x is not None] for layer, name in ((1, "gate_proj"), (2, "down_proj"))
    ]
    assert apart[0] == pytest.approx(min(ends[0]) - min(ends[1]))
    assert apart[-1] == pytest.approx(max(ends[0]) - max(ends[1]))
    shares = [np.asarray(trace.y) for trace in compared.layers_figure(*values).data]
    assert [float(share.sum()) for share in shares] == pytest.approx([1.0, 1.0])


def test_two_runs_are_compared_by_rank_and_by_neuron(bench: Bench) -> None:
    other = make_other(bench.store)
    text, parts = bench.page(f"/runs/{bench.run}", pin=other)
    assert {ids.COMPARE_MAP, ids.COMPARE_TREND, ids.COMPARE_MOVED} <= set(parts)
    axis = parts[ids.COMPARE_MAP]["figure"]["layout"]["coloraxis"]
    assert axis["cmin"] == -axis["cmax"] < 0
    assert "1 to 20 of 270 neurons" in text
    query = MapQuery(bins=2048)
    first = bench.store.run_map(bench.run, query)
    cells = compared.differences(first, bench.store.run_map(other, query))
    own, others = (
        sorted((x for x in values if x is not None), reverse=True)
        for values in (wd(1, "gate_proj"), other_wd(1, "gate_proj"))
    )
    both = min(len(own), len(others))
    assert cells[1, "gate_proj"][:both] == pytest.approx(np.subtract(own[:both], others[:both]))
    gained = bench.page(f"/runs/{bench.run}", pin=other, order="gained", **{"from": "260"})[0]
    assert "261 to 270 of 270 neurons" in gained
    assert f"pin={other}%2F" in gained  # each neuron's link beside itself


def test_runs_of_other_shapes_say_so_and_still_show_depth(bench: Bench) -> None:
    other = make_other(bench.store, blocks=3, projections=_wider(bench.store, bench.run))
    text, parts = bench.page(f"/runs/{bench.run}", pin=other)
    assert "gate_proj has 70 neurons against 71" in text
    assert ids.COMPARE_TREND in parts
    assert ids.COMPARE_MAP not in parts


def _wider(store: Store, run: str) -> list[Any]:
    first, *rest = store.record(run).model.projections
    return [first.model_copy(update={"out_features": 71}), *rest]
