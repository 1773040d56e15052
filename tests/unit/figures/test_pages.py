"""Pages and addresses without a browser."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import plotly.utils
import pytest

from app.client import AsyncClient
from app.errors import QueueUnavailable
from app.schemas.job import JobState
from app.schemas.run import RunState
from frontend import ids, paths
from frontend.callbacks.forms import request_of
from frontend.components.neuron_grid import grid_rows, request_query
from frontend.components.tokens import visible
from frontend.form_errors import FormErrors
from frontend.pages import router
from tests.unit.figures import fake_client as fake


def rendered(address: str, client: fake.FakeClient | None = None) -> str:
    """The page at `address`, as the JSON the browser gets."""
    path, _, query = address.partition("?")
    place = paths.read(path, query, "http://example.org:8123/x")
    page = asyncio.run(router.render(cast(AsyncClient, client or fake.FakeClient()), place))
    return json.dumps(page, cls=plotly.utils.PlotlyJSONEncoder, ensure_ascii=False)


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/", "map"),
        ("/new", "new"),
        (f"/runs/{fake.RUN}", "map"),
        (f"/runs/{fake.RUN}/layers/3/up_proj", "layer"),
        (f"/runs/{fake.RUN}/layers/3/up_proj/neurons/12", "neuron"),
        ("/jobs", "jobs"),
        (f"/jobs/{fake.JOB}", "job"),
        ("/jobs/UPPER", "nowhere"),
        ("/runs/../../etc", "nowhere"),
        (f"/runs/{fake.RUN}/layers/-1/up_proj", "nowhere"),
        (f"/runs/{fake.RUN}/layers/1e3/up_proj", "nowhere"),
        (f"/runs/{fake.RUN}/layers/1234567890/up_proj", "nowhere"),
        (f"/runs/{fake.RUN}/layers/٣/up_proj", "nowhere"),
        ("/elsewhere", "nowhere"),
    ],
)
def test_addresses_are_read(path: str, page: str) -> None:
    assert paths.read(path, "").page == page


def test_an_address_that_is_built_is_read_back() -> None:
    place = paths.read(paths.neuron_path(fake.RUN, 3, "odd/na me", 12), "?y=log&tokens=low")
    assert (place.run, place.layer, place.projection, place.index) == (fake.RUN, 3, "odd/na me", 12)
    assert place.query == {"y": "log", "tokens": "low"}


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("15.up_proj.402", "/layers/15/up_proj/neurons/402"),
        (" 15 up_proj 402 ", "/layers/15/up_proj/neurons/402"),
        ("15.up_proj", "/layers/15/up_proj"),
        ("up_proj.402", None),
        ("15.up_proj.x", None),
        ("15.<b>.1", None),
    ],
)
def test_the_jump_box_understands_block_projection_neuron(text: str, end: str | None) -> None:
    assert paths.jump_path("r", text) == (None if end is None else "/runs/r" + end)


def test_the_map_page_of_the_newest_finished_run() -> None:
    page = rendered("/")
    assert ids.MAP_GRAPH in page
    assert f'"run": "{fake.RUN}"' in page


def test_without_runs_the_first_page_is_the_form() -> None:
    page = rendered("/", fake.FakeClient(runs=[], jobs=[]))
    assert ids.EMPTY_STATE in page
    assert ids.FORM_SUBMIT in page


@pytest.mark.parametrize(("state", "ticks"), [(JobState.running, True), (JobState.failed, False)])
def test_the_interval_is_there_only_while_the_job_is_live(state: JobState, ticks: bool) -> None:
    run_state = RunState.running if ticks else RunState.failed
    client = fake.FakeClient(runs=[fake.a_run(fake.LIVE_RUN, run_state)], jobs=[fake.a_job(state)])
    assert (f'"{ids.JOB_TICK}"' in rendered(f"/runs/{fake.LIVE_RUN}", client)) is ticks


def test_the_layer_page_says_that_md_does_not_compare_across_layers() -> None:
    page = rendered(f"/runs/{fake.RUN}/layers/3/up_proj?colour=md")
    assert "does not compare across layers" in page
    assert f"/runs/{fake.RUN}/layers/4/up_proj?colour=md" in page


def test_the_neuron_page_shows_numbers_and_keeps_its_view_in_links() -> None:
    page = rendered(f"/runs/{fake.RUN}/layers/3/up_proj/neurons/12?y=log")
    assert repr(fake.row(3, "up_proj", 12).wd) in page
    assert f"/runs/{fake.RUN}/layers/3/up_proj/neurons/13?y=log" in page
    assert "http://example.org:8123/api/v1/runs/" in page


def test_corpus_text_is_a_text_child() -> None:
    page = rendered(f"/runs/{fake.RUN}/layers/3/up_proj/neurons/12")
    assert json.dumps(fake.HOSTILE) in page
    assert "DangerouslySetInnerHTML" not in page
    assert "dangerously_allow_html" not in page


@pytest.mark.parametrize(
    "address", ["/elsewhere", "/runs/unknown-0123456789ab", f"/runs/{fake.RUN}/layers/99/up_proj"]
)
def test_what_is_not_there_is_not_found(address: str) -> None:
    assert f'"{ids.NOT_FOUND}"' in rendered(address)


def test_an_error_of_the_service_becomes_a_panel() -> None:
    class Broken(fake.FakeClient):
        async def runs(self) -> Any:
            raise QueueUnavailable("Redis does not answer at 127.0.0.1:1.", hint="Start it.")

    page = rendered("/", Broken())
    assert ids.ERROR_PANEL in page
    for text in ("The job queue cannot be reached", "Redis does not answer at 127.0.0.1:1.", "Start it."):
        assert text in page


def test_the_table_asks_for_the_rows_it_shows() -> None:
    request = {"startRow": 100, "endRow": 200, "sortModel": [{"colId": "md", "sort": "asc"}]}
    place = {"run": fake.RUN, "layer": 3, "projection": "up_proj"}
    assert request_query(request, place) == {
        "layer": 3,
        "projection": "up_proj",
        "sort": "md",
        "offset": 100,
        "limit": 100,
    }
    answer = grid_rows([fake.row(3, "up_proj", 12)], 96)
    assert answer["rowCount"] == 96
    assert answer["rowData"][0]["key"] == "3.up_proj.12"


def test_a_form_that_does_not_fit_names_the_fields() -> None:
    assert request_of({"model": "demo", "tokens": 4096, "seed": 1}).tokens == 4096
    with pytest.raises(FormErrors) as caught:
        request_of({"model": "gpt5", "tokens": -5, "seed": 0})
    assert caught.value.fields["tokens"] == "Must be greater than or equal to 16"
    assert list(caught.value.fields) == ["model", "tokens"]
    with pytest.raises(FormErrors) as caught:
        request_of({"model": "demo", "seed": None})
    assert caught.value.fields == {"seed": "A value is needed."}


@pytest.mark.parametrize(("token", "shown"), [(" the", " the"), ("\n", "⏎"), ("  ", "␣␣"), ("", "∅")])
def test_white_space_of_a_token_can_be_seen(token: str, shown: str) -> None:
    assert visible(token) == shown
