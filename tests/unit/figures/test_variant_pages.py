"""Pages with a pruning and an expansion: what they show, keep in their links, and say when there is nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import plotly.utils
import pytest

from app.client import AsyncClient
from app.errors import QueueUnavailable
from app.schemas.job import Job, JobState, Progress
from app.schemas.pruning import PruningSettings
from frontend import ids, paths
from frontend.components.neuron_grid import grid_rows, neuron_grid, request_query
from frontend.components.shell import breadcrumbs
from frontend.pages import router
from frontend.paths import keep_variants
from tests.unit.figures import fake_client as fake
from tests.unit.figures import fake_outputs, fake_variants
from tests.unit.figures.fake_variants import EXPANSION, PRUNING, a_pruning, an_expansion

QUERY = f"pruning={PRUNING}&expansion={EXPANSION}"
LAYER = f"/runs/{fake.RUN}/layers/3/up_proj"
NEURON = f"{LAYER}/neurons/12"


def a_client(**more: Any) -> fake.FakeClient:
    return fake.FakeClient(**{"prunings": [a_pruning()], "expansions": [an_expansion()], **more})


def a_job(state: JobState = JobState.running, subject: str = PRUNING) -> Job:
    return Job(
        id=f"prune-{fake.RUN}-{subject}",
        kind="prune",
        state=state,
        run=fake.RUN,
        subject=subject,
        title="SparseGPT 90 %: block 2 up_proj",
        parts=2,
        progress=Progress(phase="pruning block 2", fraction=0.4),
    )


def rendered(address: str, client: fake.FakeClient | None = None) -> str:
    path, _, query = address.partition("?")
    place = paths.read(path, query, "http://example.org:8123/x")
    page = asyncio.run(router.render(cast(AsyncClient, client or a_client()), place))
    return json.dumps(page, cls=plotly.utils.PlotlyJSONEncoder, ensure_ascii=False)


def numbers(page: str) -> dict[str, str]:
    """Text of each number of a page, by its id."""
    found: dict[str, str] = {}

    def look(part: Any) -> None:
        if isinstance(part, dict):
            props = part.get("props", {})
            if str(props.get("id", "")).startswith("number-"):
                found[props["id"].removeprefix("number-")] = props.get("children")
            for value in part.values():
                look(value)
        elif isinstance(part, list):
            for value in part:
                look(value)

    look(json.loads(page))
    return found


@pytest.mark.parametrize("address", [f"/runs/{fake.RUN}", LAYER, NEURON])
def test_every_page_offers_what_there_is(address: str) -> None:
    page = rendered(f"{address}?{QUERY}")
    assert "SparseGPT 90 % (1 of 18 layers)" in page
    assert "16 experts 90 % (1 of 18 layers)" in page
    for kind in ("pruning", "expansion"):
        assert json.dumps(ids.open_form(kind, "bar", PRUNING if kind == "pruning" else EXPANSION)) in page


def test_numbers_of_a_neuron_dense_sparse_and_expanded() -> None:
    page = rendered(f"{NEURON}?{QUERY}")
    found = fake_variants.distributions(3, "up_proj", 12, True, True)
    shown = numbers(page)
    assert found.pruning is not None
    assert found.expansion is not None
    for name, value in (
        ("dense-wd", found.wd),
        ("sparse-wd", found.pruning.wd),
        ("expanded-wd", found.expansion.wd),
        ("sparse-w1", found.pruning.w1),
        ("expanded-w1", found.expansion.w1),
        ("sparse-rmse", found.pruning.rmse),
        ("expanded-rmse", found.expansion.rmse),
        ("expanded-weighted_wd", found.expansion.weighted_wd),
        ("expanded-weighted_md", found.expansion.weighted_md),
        ("sparse-zero_share", 0.9),
        ("ri", found.ri),
    ):
        assert value is not None
        assert float(str(shown[name]).replace(",", "")) == pytest.approx(value, rel=5e-3), name
    assert shown["sparse-weighted_wd"] == shown["dense-w1"] == ""
    assert '"W1 to dense"' in page
    assert '"WD to a Gaussian"' in page


def test_tokens_carry_the_chip_of_their_expert() -> None:
    page = rendered(f"{NEURON}?{QUERY}", a_client(outputs=fake_outputs.MISSING))
    assert page.count('"className": "expert-chip"') == 16
    assert '"className": "expert-chip"' not in rendered(f"{NEURON}?pruning={PRUNING}")


def test_what_goes_to_each_expert_is_text() -> None:
    page = rendered(f"{NEURON}?{QUERY}&experts=tokens")
    assert json.dumps(fake_variants.HOSTILE) in page
    assert "DangerouslySetInnerHTML" not in page
    assert ids.EXPERTS_GRAPH not in page


def test_links_keep_what_is_chosen() -> None:
    page = rendered(f"{NEURON}?{QUERY}&y=log")
    assert f"{LAYER}/neurons/13?y=log&{QUERY}" in page
    assert f"{NEURON}?y=log&tokens=low&{QUERY}" in page
    assert f"/runs/{fake.RUN}/layers/4/up_proj?colour=md&{QUERY}" in rendered(f"{LAYER}?{QUERY}&colour=md")
    place = paths.read(NEURON, f"?{QUERY}")
    crumbs = json.dumps(breadcrumbs(place), cls=plotly.utils.PlotlyJSONEncoder)
    assert f"/runs/{fake.RUN}?{QUERY}" in crumbs
    assert f"{LAYER}?{QUERY}" in crumbs
    assert keep_variants(LAYER, f"?{QUERY}&y=log") == f"{LAYER}?{QUERY}"
    assert keep_variants(LAYER, "") == LAYER


def test_a_layer_that_is_not_done_says_so_and_offers_the_form() -> None:
    page = rendered(f"/runs/{fake.RUN}/layers/2/up_proj/neurons/12?{QUERY}")
    assert "This layer is not pruned yet" in page
    assert "This layer is not expanded yet" in page
    assert json.dumps(ids.open_form("pruning", "undone", PRUNING)) in page
    assert ids.COMPARISON not in page
    assert ids.DISTRIBUTION_GRAPH in page  # what there is is shown


def test_neurons_of_a_layer_not_done_are_drawn_grey() -> None:
    page = rendered(f"/runs/{fake.RUN}/layers/2/up_proj?{QUERY}&colour=ri")
    assert f'"{ids.LAYER_GRAPH}"' in page
    assert "Grey: the layer is not pruned and not expanded yet, so RI has no values." in page


def test_one_of_two_is_shown_when_the_other_is_not_done() -> None:
    client = a_client(prunings=[a_pruning(layers=[])])
    page = rendered(f"{NEURON}?{QUERY}", client)
    assert "This layer is not pruned yet" in page
    assert "expanded-wd" in numbers(page)
    assert "sparse-wd" not in numbers(page)


def test_what_was_not_compared_says_so() -> None:
    settings = PruningSettings(sparsity=0.9, compare=False)
    page = rendered(f"{NEURON}?pruning={PRUNING}", a_client(prunings=[a_pruning(settings=settings)]))
    assert "without comparing outputs" in page


def test_a_job_at_work_is_followed_until_its_layer_is_done() -> None:
    client = a_client(prunings=[a_pruning(layers=[])], jobs=[a_job()])
    page = rendered(f"{NEURON}?{QUERY}", client)
    assert f'"{ids.JOB_TICK}"' in page
    assert "SparseGPT 90 %: block 2 up_proj" in page
    assert json.dumps([[fake.RUN, PRUNING, 3, "up_proj"]]) in page
    assert "this page follows it" in page


@pytest.mark.parametrize("layers_done", [True, False])
def test_a_job_that_failed_is_shown_where_it_left_a_gap(layers_done: bool) -> None:
    pruning = a_pruning() if layers_done else a_pruning(layers=[])
    page = rendered(f"{NEURON}?{QUERY}", a_client(prunings=[pruning], jobs=[a_job(JobState.failed)]))
    assert (f'"{ids.JOB_PANEL}"' in page) is not layers_done
    assert f'"{ids.JOB_TICK}"' not in page


def test_results_are_shown_without_the_queue() -> None:
    class NoQueue(fake.FakeClient):
        async def jobs(self, *_: Any, **__: Any) -> Any:
            raise QueueUnavailable("Redis does not answer.")

    page = rendered(f"{NEURON}?{QUERY}", NoQueue(prunings=[a_pruning()], expansions=[an_expansion()]))
    assert ids.COMPARISON in page


def test_an_address_that_names_what_is_not_there_says_so() -> None:
    page = rendered(f"{LAYER}?pruning=p-ffffffffffff&expansion={EXPANSION}&colour=md")
    assert f'"{ids.VARIANT_MISSING}"' in page
    assert "p-ffffffffffff (not in this run)" in page
    assert f"{LAYER}?expansion={EXPANSION}&colour=md" in page


@pytest.mark.parametrize("key", [f"/runs/{fake.RUN}?metric=ri", f"{LAYER}?colour=ri"])
def test_ri_without_both_says_what_to_choose(key: str) -> None:
    page = rendered(f"{key}&pruning={PRUNING}")
    assert "RI needs an expansion: choose it above." in page
    assert ids.MAP_GRAPH not in page
    assert ids.LAYER_GRAPH not in page
    graph = ids.MAP_GRAPH if "metric" in key else ids.LAYER_GRAPH
    assert graph in rendered(f"{key}&{QUERY}")


def test_the_map_counts_the_layers_that_are_not_done() -> None:
    page = rendered(f"/runs/{fake.RUN}?metric=pruned_w1&{QUERY}")
    assert "Hatched: 17 of 18 layers" in page
    assert "not pruned yet" in page
    assert "Hatched" not in rendered(f"/runs/{fake.RUN}?{QUERY}")


def test_the_layer_page_tells_what_was_done() -> None:
    page = rendered(f"{LAYER}?{QUERY}")
    for text in ("What was done to this layer", "relative output error", "Hessians shared", "90 %"):
        assert text in page


def test_the_table_has_columns_of_what_is_chosen() -> None:
    def fields(**chosen: str) -> list[str]:
        columns = neuron_grid(fake.RUN, 3, "up_proj", **chosen)[1].children.columnDefs
        every = [child for column in columns for child in column.get("children", [column])]
        return [column["field"] for column in every]

    assert "ri" not in fields()
    assert {"pruned_w1", "pruned_rmse"} <= set(fields(pruning=PRUNING))
    assert {"ri", "pruned_w1", "expanded_rmse"} <= set(fields(pruning=PRUNING, expansion=EXPANSION))
    row = fake.with_effects(fake.row(3, "up_proj", 12), True, True)
    assert row.effects is not None
    assert grid_rows([row], 1)["rowData"][0]["ri"] == row.effects.ri
    place = {"run": fake.RUN, "layer": 3, "projection": "up_proj", "pruning": PRUNING, "expansion": None}
    asked = request_query({"startRow": 0, "endRow": 10, "sortModel": []}, place)
    assert asked["pruning"] == PRUNING
    assert "expansion" not in asked


def test_jobs_are_listed_by_title_kind_and_parts() -> None:
    page = rendered("/jobs", fake.FakeClient(jobs=[a_job()]))
    for text in ("SparseGPT 90 %: block 2 up_proj", '"prune"', "in 2 parts", "parts"):
        assert text in page
    one = rendered(f"/jobs/{a_job().id}", fake.FakeClient(jobs=[a_job()]))
    assert "Its pruning" in one
    assert f"/runs/{fake.RUN}?pruning={PRUNING}" in one


def test_provenance_names_what_is_shown_and_asks_for_it() -> None:
    page = rendered(f"{NEURON}?{QUERY}")
    assert f"{NEURON}/distributions?{QUERY}" in page
    assert f"pruning='{PRUNING}', expansion='{EXPANSION}'" in page
