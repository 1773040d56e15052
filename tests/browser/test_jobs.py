"""Jobs from the forms to what they made: evaluated, exported, cancelled, tried again. Real workers, real results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.client import Client
from app.schemas.run import RunRequest
from frontend import ids
from tests.browser.conftest import TEST_URL, Made, Served, Visit
from tests.browser.dashboard import Dashboard, shown_number
from tests.browser.stack import MODEL, Stack

LONG_MILLISECONDS = 90_000


def fill(board: Dashboard, name: dict[str, str], value: str) -> None:
    """Type into a field whose id is a pattern."""
    key = f'{{"name":"{name["name"]}","type":"{name["type"]}"}}'
    board.page.locator(f"[id='{key}']").fill(value)


def field(board: Dashboard, name: dict[str, str]) -> str:
    """Selector of such a field's surroundings, where its error stands."""
    return f'.mantine-InputWrapper-root:has([id=\'{{"name":"{name["name"]}","type":"{name["type"]}"}}\'])'


def test_perplexity_is_measured_from_the_page(board: Dashboard, served: Served, made: Made) -> None:
    board.open(f"{served.run_path}/variants{made.query}")
    estimate = board.by_id(ids.EVALUATE_ESTIMATE)
    expect(estimate).to_contain_text("of memory for 8,192 tokens")
    fill(board, ids.evaluate("window"), "100000")
    expect(board.page.locator(field(board, ids.evaluate("window")))).to_contain_text("do not fill one window")
    expect(estimate).to_contain_text("Correct the marked fields")
    fill(board, ids.evaluate("window"), "64")
    fill(board, ids.evaluate("tokens"), "256")
    expect(estimate).to_contain_text("of memory for 256 tokens")
    board.by_id(ids.EVALUATE_SUBMIT).click()
    board.page.wait_for_url(re.compile(r"/evaluations/e-[0-9a-f]{12}$"))
    results = board.by_id(ids.EVALUATIONS)
    expect(results).to_contain_text(
        "252 predicted tokens in 4 windows of up to 64 tokens", timeout=LONG_MILLISECONDS
    )
    stored = served.client.evaluation(served.run, board.page.url.rpartition("/")[2])
    rows = results.locator("tbody tr")
    expect(rows).to_have_count(len(stored.results))
    for row, result in zip(rows.all(), stored.results, strict=True):
        expect(row).to_contain_text(result.title)
        cells = row.locator("td").all_inner_texts()
        assert shown_number(cells[1]) == pytest.approx(result.perplexity, rel=5e-3)
        low, high = map(shown_number, cells[2].split(" to "))
        assert low <= result.perplexity <= high
    board.page.get_by_role("link", name="All of this run").click()
    expect(board.by_id(ids.EVALUATIONS)).to_contain_text("252 predicted tokens")


def test_a_pruning_is_exported_and_its_folder_shown(board: Dashboard, served: Served, made: Made) -> None:
    board.open(f"{served.run_path}/variants")
    board.page.get_by_role("button", name=f"export {made.pruning}").click()
    row = board.by_id(ids.VARIANTS_TABLE).get_by_role("row").filter(has_text=made.pruning)
    folder = row.locator(".folder")
    expect(folder).to_be_visible(timeout=LONG_MILLISECONDS)
    shown = folder.get_attribute("title")
    assert shown == served.client.pruning(served.run, made.pruning).export
    if TEST_URL is None:
        assert (Path(shown or "") / "config.json").is_file()
    job = next(j for j in served.client.jobs(kind="export").items if j.subject == made.pruning)
    board.open(f"/jobs/{job.id}")
    board.by_id(ids.JOB_MADE).get_by_role("link").click()
    board.at(f"{served.run_path}/variants")


def test_a_finished_job_leads_to_the_layer_with_its_pruning_chosen(
    board: Dashboard, served: Served, made: Made
) -> None:
    job = next(
        j for j in served.client.jobs(kind="prune").items if j.subject == made.pruning and j.layer is not None
    )
    board.open("/jobs?kind=prune&state=finished")
    row = board.by_id(ids.JOBS_TABLE).get_by_role("row").filter(has=board.page.get_by_title(job.id))
    row.get_by_role("link", name=job.title).click()
    board.at(f"/jobs/{job.id}")
    board.page.get_by_role("link", name="Its pruning").click()
    board.at(made.layer_path)
    assert f"pruning={made.pruning}" in board.page.url


def test_the_form_prunes_some_neurons_only(board: Dashboard, made: Made) -> None:
    board.open(made.layer_path)
    board.page.get_by_role("button", name="Prune…").click()
    share = board.page.locator(field(board, ids.field("neurons_share"))).locator("input")
    expect(share).to_be_disabled()
    board.page.get_by_role("textbox", name="Neurons", exact=True).click()
    board.page.get_by_role("option", name="only the chosen ones").click()
    expect(share).to_be_enabled()
    share.fill("0")
    expect(board.page.locator(field(board, ids.field("neurons_share")))).to_contain_text("at most 100 %")
    share.fill("25")
    expect(board.by_id(ids.VARIANT_ESTIMATE)).to_contain_text("of memory")
    board.by_id(ids.VARIANT_SUBMIT).click()
    expect(board.by_id(ids.RESULTS)).to_contain_text("only 25 % highest WD", timeout=LONG_MILLISECONDS)
    expect(board.by_id(ids.RESULTS)).to_contain_text("zeros, others")
    expect(board.by_id(ids.RESULTS)).to_contain_text("make nothing faster")


def test_the_form_of_a_run_says_what_is_wrong_as_one_types(board: Dashboard) -> None:
    board.open("/new")
    estimate = board.by_id(ids.FORM_ESTIMATE)
    board.by_id(ids.FORM_MODEL).fill(MODEL if TEST_URL is None else "demo")
    board.by_id(ids.FORM_WINDOW).fill("64")
    expect(estimate).to_contain_text("of memory")
    board.by_id(ids.FORM_TOKENS).fill("3")
    wrong = board.page.locator(
        f".mantine-InputWrapper-root:has(#{ids.FORM_TOKENS}) .mantine-InputWrapper-error"
    )
    expect(wrong).to_have_text("Must be greater than or equal to 16")
    board.by_id(ids.FORM_TOKENS).fill("512")
    expect(wrong).to_have_count(0)
    expect(estimate).to_contain_text("For 512 tokens")


@pytest.mark.skipif(TEST_URL is not None, reason="cancels jobs of a server of its own")
def test_jobs_are_filtered_cancelled_and_tried_again(visit: Visit, bare_stack: Stack) -> None:
    with Client(bare_stack.url) as client:
        first = client.submit(RunRequest(model=MODEL, tokens=1024, window=64)).job
        second = client.submit(RunRequest(model=MODEL, tokens=512, window=64)).job
    assert first is not None
    assert second is not None
    board = visit(bare_stack.url)
    board.open("/jobs")
    table = board.by_id(ids.JOBS_TABLE)
    row = table.get_by_role("row").filter(has=board.page.get_by_title(second.id))
    expect(row).to_contain_text("waiting in the queue, place 2")
    row.get_by_role("button", name=f"cancel {second.id}").click()
    expect(row).to_contain_text("cancelled")
    board.open(f"/jobs/{second.id}")
    expect(board.by_id(ids.JOB_PANEL)).to_contain_text("no device was in use")
    board.open("/jobs")
    board.page.get_by_role("textbox", name="State").click()
    board.page.get_by_role("option", name="cancelled").click()
    board.page.wait_for_url("**/jobs?state=cancelled")
    expect(table.locator("tbody tr")).to_have_count(1)
    board.page.reload()  # the address holds the view
    board.settled()
    expect(table.locator("tbody tr")).to_have_count(1)
    table.get_by_role("button", name=f"try again {second.id}").click()
    expect(board.by_id(ids.PAGE)).to_contain_text("No job is like this")
    bare_stack.start_worker()
    board.open(f"/jobs/{second.id}")
    made = board.by_id(ids.JOB_MADE).get_by_role("link", name="Its map")
    expect(board.by_id(ids.JOB_PANEL)).to_contain_text("finished", timeout=LONG_MILLISECONDS)
    made.click()
    board.plot(ids.MAP_GRAPH)
    expect(board.title).to_contain_text("512 tokens")


@pytest.mark.skipif(TEST_URL is not None, reason="kills its own Redis")
def test_a_dead_redis_is_said_on_every_page_and_recovers_by_itself(visit: Visit, bare_stack: Stack) -> None:
    with Client(bare_stack.url) as client:
        client.submit(RunRequest(model=MODEL, tokens=512, window=64))
    board = visit(bare_stack.url)
    board.open("/new")
    bare_stack.valkey.kill()
    board.page.get_by_role("link", name="Jobs", exact=False).first.click()
    expect(board.by_id(ids.STATUS)).to_contain_text("The job queue cannot be reached")
    expect(board.by_id(ids.ERROR_PANEL)).to_contain_text("does not answer")
    board.by_id(ids.ERROR_PANEL).get_by_role("button", name="dismiss").click()
    expect(board.by_id(ids.ERROR_PANEL)).to_be_hidden()
    bare_stack.valkey.start()
    expect(board.by_id(ids.STATUS)).to_be_empty()  # nobody reloads
    expect(board.by_id(ids.JOBS_TABLE)).to_be_visible()


def test_a_page_is_printed_light_and_without_its_buttons(visit: Visit, served: Served) -> None:
    board = visit(served.url, color_scheme="dark")
    board.open(served.run_path)
    board.plot(ids.MAP_GRAPH)
    board.page.emulate_media(media="print", color_scheme="dark")
    expect(board.page.locator(".header")).to_be_hidden()
    expect(board.by_id(ids.MAP_GRAPH)).to_be_visible()
    shown = board.page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('h1')).color]"
    )
    assert shown == ["rgb(255, 255, 255)", "rgb(33, 37, 41)"]
