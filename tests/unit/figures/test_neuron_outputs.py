"""A neuron's page with stored outputs: how it is drawn, which tokens it asks for, what it hands out."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shlex
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from app.client import AsyncClient
from app.client.calls import Calls
from app.schemas.job import JobState
from app.schemas.problem import Problem
from app.schemas.run import RunRequest
from frontend import ids, neuron_view, paths, theme
from frontend.components.numbers import interval_text
from frontend.components.provenance import run_command
from frontend.downloads import download
from frontend.figures import effects, neuron, pairs
from frontend.figures.shown import RAW, Axis, Shown, joined
from frontend.neuron_view import BANDS, View
from frontend.queries import Query
from tests.unit.figures import fake_client as fake
from tests.unit.figures import fake_outputs, fake_variants
from tests.unit.figures.test_variant_pages import EXPANSION, NEURON, QUERY, a_client, rendered

DETAIL = fake.detail(fake.RUN, 3, "up_proj", 12)


def place_of(address: str) -> paths.Place:
    path, _, query = address.partition("?")
    return paths.read(path, query, "http://example.org:8123/x")


# How it is drawn


@pytest.mark.parametrize("bins", [256, 128, 64, 32])
def test_joined_bins_hold_the_same_tokens(bins: int) -> None:
    bars = neuron.distribution_figure(DETAIL, False, Shown(bins=bins)).data[0]
    whole = neuron.distribution_figure(DETAIL, False).data[0]
    assert len(bars.y) == bins
    assert sum(bars.y) == sum(whole.y) == sum(DETAIL.distribution.counts)
    assert bars.width * bins == pytest.approx(whole.width * 256)
    factor = 256 // bins
    assert bars.y[3] == sum(DETAIL.distribution.counts[3 * factor : 4 * factor])


def test_bins_that_do_not_divide_stay_as_they_are() -> None:
    assert joined(np.arange(30), 256, 64).tolist() == list(range(30))


def test_the_standardised_axis_has_mean_0_and_spread_1() -> None:
    raw, standard = (neuron.distribution_figure(DETAIL, False, Shown(standard=s)) for s in (False, True))
    back = np.asarray(standard.data[0].x) * DETAIL.std + DETAIL.mean
    np.testing.assert_allclose(back, raw.data[0].x)
    assert "standard deviations" in standard.layout.xaxis.title.text
    bars, curve = standard.data
    area = float(np.trapezoid(curve.y, curve.x)) / bars.width
    assert area == pytest.approx(sum(DETAIL.distribution.counts), rel=0.01)
    assert curve.x[int(np.argmax(curve.y))] == pytest.approx(0, abs=0.05)


def test_a_constant_neuron_stays_on_its_own_axis() -> None:
    constant = fake.detail(fake.RUN, 0, "up_proj", 7)
    figure = neuron.distribution_figure(constant, False, Shown(standard=True))
    assert figure.layout.xaxis.title.text == "output before the activation"


def test_the_overlay_follows_bins_and_axis() -> None:
    found = fake_variants.distributions(3, "up_proj", 12, True, True)
    plain = effects.overlay_figure(found, False)
    coarse = effects.overlay_figure(found, False, Shown(standard=True, bins=32))
    for before, after in zip(plain.data, coarse.data, strict=True):
        assert len(after.y) == len(before.y) // 4
        assert np.nansum(after.y) == pytest.approx(np.nansum(before.y), rel=1e-3)
    back = np.asarray(coarse.data[0].x) * found.std + found.mean
    assert back[0] == pytest.approx(np.mean(np.asarray(plain.data[0].x)[:4]))
    assert len(effects.overlay_figure(found, False, Shown(bins=256)).data[0].y) == len(found.dense)


@pytest.mark.parametrize(
    ("chosen", "ends"), [((1.0, 2.0), (1.0, 2.0)), ((None, 2.0), (None, 2.0)), ((1.0, None), (1.0, None))]
)
def test_the_range_is_marked_on_either_axis(chosen: Any, ends: Any) -> None:
    for standard in (False, True):
        axis = Axis.of(Shown(standard=standard), DETAIL.mean, DETAIL.std)
        figure = neuron.distribution_figure(DETAIL, False, Shown(standard=standard, chosen=chosen))
        [shape] = figure.layout.shapes
        for found, wanted in zip((shape.x0, shape.x1), ends, strict=True):
            if wanted is not None:
                assert axis.back(found) == pytest.approx(wanted)
        assert shape.x0 < shape.x1
        assert figure.layout.dragmode == "select"
    assert neuron.distribution_figure(DETAIL, False, RAW).layout.shapes == ()


def test_the_pairs_are_points_and_the_hardest_numbered() -> None:
    found = fake_outputs.pairs()
    points, line, rings = pairs.pairs_figure(found).data
    assert (list(points.x), list(points.y)) == (found.input_distances, found.output_distances)
    assert line.y[1] / line.x[1] == found.md
    assert list(rings.text) == ["1", "2", "3"]
    assert list(rings.y) == [pair.output_distance for pair in found.hardest]
    assert "4,090 pairs" in pairs.pairs_summary(found)
    nothing = found.model_copy(update={"pairs": 0, "md": None, "hardest": []})
    assert "identical inputs" in pairs.pairs_summary(nothing)


# What an address says


def test_a_view_is_read_from_the_address() -> None:
    query = dict(parse_qsl("y=log&x=standard&bins=64&tokens=range&low=2&high=-1.5&sort=value&draw=3&from=25"))
    view = View.read(query)
    assert (view.log, view.standard, view.bins, view.tokens) == (True, True, 64, "range")
    assert view.chosen == (-1.5, 2.0)  # the other way round
    assert (view.sort, view.draw, view.offset) == ("value", 3, 25)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "bins=7&tokens=best&low=x&high=nan&sort=up&draw=-1&from=1e9&band=99&y=cubic",
        "low=inf&band=٣&draw=99999999999",
    ],
)
def test_what_makes_no_sense_is_as_if_it_were_not_there(query: str) -> None:
    assert View.read(dict(parse_qsl(query))) == View()


def test_neighbours_keep_the_view_and_pages_begin_anew() -> None:
    page = rendered(f"{NEURON}?y=log&x=standard&bins=64&tokens=range&low=1&high=2&from=25&{QUERY}")
    following = f"{paths.neuron_path(fake.RUN, 3, 'up_proj', 13)}?y=log&x=standard&bins=64&tokens=range&low=1&high=2&{QUERY}"
    assert json.dumps(following) in page
    place = place_of(f"{NEURON}?tokens=range&from=25&low=1")
    assert neuron_view.here(place, sort="value").endswith("?tokens=range&low=1&sort=value")


# Tokens


def test_a_range_asks_for_its_tokens_with_the_expert_of_each() -> None:
    client = a_client()
    page = rendered(f"{NEURON}?{QUERY}&tokens=range&low=1&high=2&from=25", client)
    [asked] = client.asked
    assert asked == {
        "low": 1.0,
        "high": 2.0,
        "sort": "-value",
        "expansion": EXPANSION,
        "limit": 25,
        "offset": 25,
    }
    for text in ("60 of 8,192 tokens (0.732 %), 26–50 shown", " word30"):
        assert text in page
    in_pairs = 2 * len(fake_outputs.pairs().hardest)
    assert page.count('"className": "expert-chip"') == 25 + 2 + in_pairs
    assert "from=50" in page


def test_a_band_is_a_random_sample_that_can_be_drawn_again() -> None:
    client = a_client()
    page = rendered(f"{NEURON}?tokens=bands&band=2&draw=4", client)
    [asked] = client.asked
    assert (asked["from_quantile"], asked["to_quantile"]) == BANDS[2]
    assert (asked["sort"], asked["seed"]) == ("random", 4)
    assert "draw=5" in page
    assert "10–25 %" in page
    assert [low for low, _ in BANDS[1:]] == [high for _, high in BANDS[:-1]]


def test_text_of_a_range_stays_text() -> None:
    page = rendered(f"{NEURON}?tokens=range")
    assert json.dumps(fake_variants.HOSTILE) in page
    assert "DangerouslySetInnerHTML" not in page


# Outputs that are not there yet


@pytest.mark.parametrize("tokens", ["range", "bands"])
def test_what_needs_the_outputs_offers_to_store_them(tokens: str) -> None:
    client = a_client(outputs=fake_outputs.MISSING)
    page = rendered(f"{NEURON}?tokens={tokens}", client)
    for where in ("tokens", "pairs"):
        assert json.dumps(ids.store_outputs(where)) in page
    assert "3 MB in the store, for all 96 neurons" in page
    assert client.asked == []
    assert f'"{ids.OUTPUTS_TICK}"' not in page
    assert json.dumps(ids.store_outputs("tokens")) not in rendered(NEURON, client)  # the 16 are there


def test_the_job_is_followed_in_place() -> None:
    state = fake_outputs.MISSING.model_copy(update={"job": fake_outputs.a_job()})
    page = rendered(f"{NEURON}?tokens=range", a_client(outputs=state))
    assert page.count("storing 96 neurons of 8,192 tokens") == 2
    assert f'"{ids.OUTPUTS_TICK}"' in page
    assert json.dumps(ids.store_outputs("tokens")) not in page


def test_a_job_that_failed_says_why_and_can_be_tried_again() -> None:
    problem = Problem(type="x", title="The store is full", status=507, detail="No space.", code="store-full")
    job = fake_outputs.a_job(JobState.failed, problem=problem)
    page = rendered(NEURON, a_client(outputs=fake_outputs.MISSING.model_copy(update={"job": job})))
    assert "The store is full" in page
    assert json.dumps(ids.store_outputs("pairs")) in page
    assert f'"{ids.OUTPUTS_TICK}"' not in page


# Numbers


def test_every_number_says_of_what_it_is() -> None:
    page = rendered(NEURON)
    for text in (
        "W1 to N(0, 1), 8,192 tokens",
        "4,096 pairs; only within this layer",
        "of 96",
        "40 weights",
        "share of 40 weights",
        "8,192 tokens; Gaussian: 0",
    ):
        assert text in page
    assert "Pairs: MD" in page
    assert "needs the layer's outputs" in rendered(NEURON, a_client(outputs=fake_outputs.MISSING))


def test_the_interval_in_words() -> None:
    short, full, remark = interval_text(fake_outputs.interval(0.4))
    assert short == f"{theme.number(0.36)} to {theme.number(0.44)}"
    assert "percentile bootstrap over whole windows" in full
    assert remark == "95 %, 1,000 resamples of 16 windows"
    found = fake_outputs.interval(0.4).model_copy(update={"windows": 4})
    assert "rough" in interval_text(found)[2]
    assert interval_text(fake_outputs.interval(None))[0] == "–"


def test_ri_stands_among_the_numbers_where_both_are_shown() -> None:
    assert '"number-numbers-ri"' in rendered(f"{NEURON}?{QUERY}")
    assert '"number-numbers-ri"' not in rendered(NEURON)


# What the cards hand out


def test_a_query_is_the_clients_own_call() -> None:
    address = (fake.RUN, 3, "up_proj", 12)
    query = Query("tokens", address, {"low": 0.5, "sort": "random", "expansion": None, "limit": 25})
    assert query.path == "/api/v1" + Calls.neuron(*address).path + "/tokens?low=0.5&sort=random&limit=25"
    assert query.curl("http://here") == f"curl -s 'http://here{query.path}'"

    asked: list[tuple[Any, ...]] = []

    class Recorder:
        def __init__(self, origin: str) -> None:
            asked.append((origin,))

        def tokens(self, *args: Any, **named: Any) -> str:
            asked.append((args, named))
            return "answer"

    script = query.python("http://here").replace("from app.client import Client\n", "")
    names: dict[str, Any] = {"Client": Recorder}
    exec(script, names)
    assert names["tokens"] == "answer"
    assert asked == [("http://here",), (address, {"low": 0.5, "sort": "random", "limit": 25})]


def test_every_card_hands_out_what_it_shows() -> None:
    page = rendered(f"{NEURON}?{QUERY}&tokens=range&low=1")
    for name in ("distribution", "comparison", "experts", "tokens", "pairs", "numbers"):
        assert json.dumps(ids.csv(name)) in page
    for plot in (ids.DISTRIBUTION_GRAPH, ids.EXPERTS_GRAPH, ids.PAIRS_GRAPH):
        assert page.count(f'"data-plot": "{plot}"') == 2  # PNG and SVG
    links = [urlsplit(part.split('"')[0]) for part in page.split('"href": "')[1:]]
    shown = {link.path.rsplit("/", 1)[1] for link in links if link.path.startswith("/api/v1")}
    assert {"distributions", "tokens", "pairs", "12"} <= shown


@pytest.mark.parametrize(
    ("card", "query", "rows", "column"),
    [
        ("distribution", "", 256, "dense"),
        ("distribution", QUERY, 192, "expanded"),
        ("comparison", QUERY, 3, "rmse"),
        ("experts", QUERY, 192, "expert 0"),
        ("experts", f"{QUERY}&experts=tokens", None, "count"),
        ("numbers", "", None, "value"),
        ("tokens", "tokens=low", 16, "token"),
        ("tokens", f"{QUERY}&tokens=range&from=50", fake_outputs.HELD, "expert"),
        ("pairs", "", 50, "input_distance_raw"),
    ],
)
def test_a_file_of_each_card(card: str, query: str, rows: int | None, column: str) -> None:
    client = cast(AsyncClient, a_client())
    name, text = asyncio.run(download(client, card, place_of(f"{NEURON}?{query}"), stored=True))
    assert name == f"block-3-up_proj-neuron-12-{card}.csv"
    found = list(csv.DictReader(io.StringIO(text)))
    assert column in found[0]
    assert rows is None or len(found) == rows
    if column == "dense":
        assert [int(row["dense"]) for row in found] == DETAIL.distribution.counts
        assert float(found[-1]["high"]) == pytest.approx(DETAIL.distribution.high)
    if card == "numbers":
        known = {row["name"]: row["value"] for row in found}
        assert float(known["wd"]) == DETAIL.wd
        assert float(known["wd_low"]) == pytest.approx(0.9 * (DETAIL.wd or 0))


def test_provenance_has_the_call_that_makes_the_run() -> None:
    page = rendered(NEURON)
    for text in ("fingerprint", "gguf-0011223344556677", "3 MB, stored", "float32", "path:tiny-llama"):
        assert text in page
    command = run_command(fake.a_run(), "http://here")
    assert RunRequest(**json.loads(shlex.split(command)[-1])) == fake.a_run().request
    assert shlex.split(command)[:5] == ["curl", "-s", "-X", "POST", "http://here/api/v1/runs"]
