"""From an empty store to a map: form, place in the queue, progress, cancel. On a server of its own."""

from __future__ import annotations

import signal

import pytest
from playwright.sync_api import expect

from app.client import Client
from app.schemas.run import RunRequest
from frontend import ids
from tests.browser.conftest import TEST_URL, Visit
from tests.browser.dashboard import Dashboard
from tests.browser.stack import MODEL, Stack

pytestmark = pytest.mark.skipif(TEST_URL is not None, reason="needs a store with nothing in it")


def _submit(board: Dashboard, tokens: int) -> None:
    for name, value in ((ids.FORM_MODEL, MODEL), (ids.FORM_TOKENS, str(tokens)), (ids.FORM_WINDOW, "64")):
        board.by_id(name).fill(value)
        board.by_id(name).blur()
    board.by_id(ids.FORM_SUBMIT).click()
    board.page.wait_for_url("**/runs/tiny-llama-*")


def test_the_first_run_from_the_empty_page_to_its_map(visit: Visit, bare_stack: Stack) -> None:
    board = visit(bare_stack.url)
    board.open("/")
    expect(board.by_id(ids.EMPTY_STATE)).to_contain_text("No runs yet")
    _submit(board, 1024)
    panel = board.by_id(ids.JOB_PANEL)
    expect(panel).to_contain_text("waiting in the queue, place 1")
    expect(board.by_id(ids.JOBS_LINK)).to_have_text("Jobs (1)")

    bare_stack.start_worker()
    expect(board.by_id(ids.MAP_GRAPH)).to_be_visible(timeout=90_000)  # by itself: nobody reloads
    board.plot(ids.MAP_GRAPH)
    expect(panel).to_have_count(0)
    expect(board.by_id(ids.JOBS_LINK)).to_have_text("Jobs")
    # The interval has left with the job; what the new page itself still asks for ends.
    assert any(_polls(board, 3.0) == [] for _ in range(4))

    with Client(bare_stack.url) as client:
        client.delete_run(client.runs().items[0].id)
    board.by_id(ids.NEURON_TABLE).locator(".ag-header-cell[col-id='md']").click()
    expect(board.by_id(ids.NEURON_TABLE_ERROR)).to_contain_text("Not found")


def _polls(board: Dashboard, seconds: float) -> list[str]:
    sent: list[str] = []
    board.page.on("request", lambda request: sent.append(request.url))
    board.page.wait_for_timeout(seconds * 1000)  # an absence can only be waited for
    return sent


def test_a_queued_job_is_cancelled_from_the_page(visit: Visit, bare_stack: Stack) -> None:
    with Client(bare_stack.url) as client:
        submitted = client.submit(RunRequest(model=MODEL, tokens=1024, window=64))
        assert submitted.job is not None
        board = visit(bare_stack.url)
        board.open(f"/runs/{submitted.run.id}")
        board.by_id(ids.JOB_PANEL).get_by_role("button", name="cancel").click()
        expect(board.by_id(ids.PAGE)).to_contain_text("This run is cancelled")
        assert client.job(submitted.job.id).state == "cancelled"
        board.open("/jobs")
        link = board.page.locator(f"a[href='/jobs/{submitted.job.id}']")
        row = board.by_id(ids.JOBS_TABLE).get_by_role("row").filter(has=link)
        expect(row).to_contain_text("cancelled")
        expect(row.get_by_role("button", name="cancel")).to_have_count(0)
        expect(row.get_by_role("button", name="try again")).to_be_enabled()


def test_the_server_ends_in_time_with_an_event_stream_open(bare_stack: Stack) -> None:
    with Client(bare_stack.url) as client:
        job = client.submit(RunRequest(model=MODEL, tokens=1024, window=64)).job
        assert job is not None
        stream = client.events(job.id)
        assert next(stream).state == "queued"
        # uvicorn shuts down in order and then ends by the very signal it was sent
        assert bare_stack.stop_server(seconds=10) in {0, -signal.SIGTERM}
    assert "Traceback" not in bare_stack.log()


def test_a_dead_service_is_said_and_the_page_goes_on_by_itself(visit: Visit, bare_stack: Stack) -> None:
    with Client(bare_stack.url) as client:
        submitted = client.submit(RunRequest(model=MODEL, tokens=1024, window=64))
    board = visit(bare_stack.url, unreachable=True)
    board.open(f"/runs/{submitted.run.id}")
    bare_stack.stop_server()
    expect(board.by_id(ids.OFFLINE)).to_contain_text("does not answer")
    expect(board.title).to_contain_text("tiny-llama")  # what is on the screen stays
    bare_stack.start_server()
    expect(board.by_id(ids.OFFLINE)).to_have_count(0)
    board.settled()
    expect(board.by_id(ids.JOB_PANEL)).to_contain_text("waiting in the queue")
