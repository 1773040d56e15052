"""Addresses hold the view, themes are kept, nothing is blank, errors say what to do."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from frontend import ids
from tests.browser.conftest import TEST_URL, Made, Served, Visit
from tests.browser.dashboard import Dashboard
from tests.browser.stack import Stack

LUMINANCE = """name => {
  const probe = document.createElement('span'); probe.style.color = `var(${name})`; document.body.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255); probe.remove();
  const [r, g, b] = parts.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}"""
"""Relative luminance of a CSS variable's colour, WCAG 2."""


@pytest.mark.parametrize(
    ("path", "title"),
    [("/jobs", "Jobs"), ("/new", "New run"), ("/nowhere", "Not found"), ("/runs/x", "Not found")],
)
def test_an_address_typed_in_shows_its_own_page(board: Dashboard, path: str, title: str) -> None:
    board.open(path)
    expect(board.title).to_have_text(title)
    expect(board.by_id(ids.RUN_SELECT)).not_to_have_value("")  # filling it in must lead nowhere else
    board.page.wait_for_timeout(500)  # that nothing happens can only be waited for
    assert board.page.url == board.url + path
    expect(board.title).to_have_text(title)


def test_what_does_not_exist_says_so_and_leads_on(board: Dashboard, served: Served) -> None:
    summary = served.client.layers(served.run)[0]
    layer = f"/runs/{served.run}/layers/{summary.layer}/{summary.projection}"
    missing = (
        "/runs/there-is-no-such-run",
        f"/runs/{served.run}/layers/999/{summary.projection}",
        f"/runs/{served.run}/layers/0/no_such_projection",
        f"{layer}/neurons/{summary.neurons}",
        "/jobs/explore-no-such-job",
    )
    for path in missing:
        board.open(path)
        expect(board.by_id(ids.NOT_FOUND)).to_be_visible()
        assert board.url + path == board.page.url
    board.by_id(ids.NOT_FOUND).get_by_role("link").first.click()
    board.at("/")


def test_the_address_holds_the_view(board: Dashboard, served: Served) -> None:
    board.open(f"/runs/{served.run}?metric=kurtosis")
    expect(board.page.get_by_role("heading", name="Map of excess kurtosis")).to_be_visible()
    summary = served.client.layers(served.run)[0]
    neuron = f"/runs/{served.run}/layers/{summary.layer}/{summary.projection}/neurons/1"
    board.open(f"{neuron}?y=log&tokens=low")
    assert board.plot(ids.DISTRIBUTION_GRAPH)["y"] == "log"
    board.page.get_by_role("link", name="linear").click()
    board.page.wait_for_url(lambda url: "y=log" not in url)
    board.settled()
    assert board.page.url.endswith("?tokens=low")
    board.page.wait_for_function(
        "id => document.querySelector(`#${id} .js-plotly-plot`)._fullLayout.yaxis.type === 'linear'",
        arg=ids.DISTRIBUTION_GRAPH,
    )


def test_a_selector_goes_into_the_address_and_comes_back_with_it(board: Dashboard, served: Served) -> None:
    board.open(f"/runs/{served.run}")
    board.page.get_by_role("combobox", name="colour").or_(
        board.page.get_by_role("textbox", name="colour")
    ).click()
    board.page.get_by_role("option", name="entropy").click()
    board.page.wait_for_url("**?metric=entropy")
    expect(board.page.get_by_role("heading", name="Map of entropy")).to_be_visible()
    board.page.go_back()
    board.at(f"/runs/{served.run}")
    expect(board.page.get_by_role("heading", name="Wasserstein map")).to_be_visible()


def test_the_theme_follows_the_system_and_a_choice_is_kept(visit: Visit, served: Served) -> None:
    board = visit(served.url, color_scheme="dark")
    board.open("/")
    assert board.scheme == "dark"
    dark = board.page.evaluate("getComputedStyle(document.body).backgroundColor")
    board.by_id(ids.THEME_TOGGLE).click()
    expect(board.page.locator("html[data-mantine-color-scheme='light']")).to_have_count(1)
    board.page.reload()
    board.settled()
    assert board.scheme == "light"
    assert board.page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(visit: Visit, served: Served, scheme: str) -> None:
    """WCAG 2 AA: 4.5 to 1 for text on the surfaces it stands on."""
    board = visit(served.url, color_scheme=scheme)
    board.open("/")
    light = {
        name: board.page.evaluate(LUMINANCE, name)
        for name in ("--text", "--muted", "--accent", "--error", "--surface", "--ground")
    }
    for text in ("--text", "--muted", "--accent", "--error"):
        for behind in ("--surface", "--ground"):
            high, low = max(light[text], light[behind]), min(light[text], light[behind])
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, behind)


def test_plots_and_controls_have_names(board: Dashboard, served: Served, made: Made) -> None:
    summary = served.client.layers(served.run)[0]
    layer = f"/runs/{served.run}/layers/{summary.layer}/{summary.projection}"
    changed = made.neuron_path(1) + made.query
    for path in ("/", layer, f"{layer}/neurons/0", "/new", changed):
        board.open(path)
        for plot in board.page.locator(".js-plotly-plot").all():
            name = plot.evaluate("e => e.closest('[aria-label]')?.getAttribute('aria-label')")
            assert len(name or "") > 30, path
            assert (name or "").endswith("."), path
        nameless = board.page.evaluate(
            "() => Array.from(document.querySelectorAll('button, a[href], input:not([type=hidden])'))"
            ".filter(e => e.offsetParent && !e.closest('.ag-root-wrapper, .modebar, [tabindex=\"-1\"]') && !(e.getAttribute('aria-label')"
            " || e.title || e.innerText || (e.labels && e.labels.length))).map(e => e.outerHTML)"
        )
        assert nameless == [], path


@pytest.mark.skipif(TEST_URL is not None, reason="stops Valkey, which must be the test's own")
def test_a_dead_queue_is_said_and_recovers(visit: Visit, served: Served, stack: Stack) -> None:
    board = visit(stack.url)
    stack.valkey.kill()
    try:
        board.open("/jobs")
        panel = board.by_id(ids.ERROR_PANEL)
        expect(panel).to_contain_text("The job queue cannot be reached", timeout=30_000)
        board.open(f"/runs/{served.run}")  # what is stored can still be looked at
        board.plot(ids.MAP_GRAPH)
    finally:
        stack.valkey.start()
    board.open("/jobs")
    expect(board.title).to_have_text("Jobs")
    expect(board.by_id(ids.ERROR_PANEL)).to_have_count(0)


@pytest.mark.parametrize(
    ("model", "message"),
    [("path:no-such-model", "No such model"), ("path:../..", "Refused for safety"), ("what", "model")],
)
def test_the_form_says_what_is_wrong_with_a_model(board: Dashboard, model: str, message: str) -> None:
    if TEST_URL is not None and model.startswith("path:"):
        pytest.skip("what runs at WASSERSCOPE_TEST_URL may have no model root")
    board.open("/new")
    board.by_id(ids.FORM_MODEL).fill(model)
    board.by_id(ids.FORM_MODEL).press("Escape")
    board.by_id(ids.FORM_SUBMIT).click()
    panel = board.by_id(ids.FORM_ANSWER).get_by_role("alert")
    expect(panel).to_contain_text(message)
    assert board.page.url == f"{board.url}/new"


def test_the_form_keeps_what_is_wrong_on_the_screen(board: Dashboard) -> None:
    board.open("/new")
    board.by_id(ids.FORM_TOKENS).fill("3")
    board.by_id(ids.FORM_TOKENS).blur()
    board.by_id(ids.FORM_SUBMIT).click()
    expect(board.by_id(ids.ERROR_PANEL)).to_contain_text("tokens")
