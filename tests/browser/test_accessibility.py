"""axe finds no serious violation on any page, light or dark, and in what opens over it; and what axe does not see."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from frontend import ids
from tests.browser.conftest import Made, Served, Visit
from tests.browser.dashboard import FILLED, Dashboard
from tests.browser.test_layout import pages

SERIOUS = {"serious", "critical"}


def violations(board: Dashboard, name: str) -> list[str]:
    """What axe calls serious or critical, with the element; what is still there when the page has come to rest."""
    found = _violations(board, name)
    for _ in range(5):
        if not found:
            break
        board.page.wait_for_timeout(1000)  # a table's heads, or a button's colour, may be on their way
        found = _violations(board, name)
    return found


def _violations(board: Dashboard, name: str) -> list[str]:
    found = Axe().run(board.page).response["violations"]
    return [
        f"{name}: {one['id']} ({one['impact']}): {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(visit: Visit, served: Served, made: Made, scheme: str) -> None:
    board = visit(served.url, color_scheme=scheme, reduced_motion="reduce")
    found: list[str] = []
    for name, path in pages(served, made).items():
        board.open(path)
        board.page.wait_for_function(FILLED)
        found += violations(board, name)
    board.open(made.layer_path)
    board.page.get_by_role("button", name="Prune…").click()
    expect(board.by_id(ids.VARIANT_ESTIMATE)).to_contain_text("Pruning:")
    found += violations(board, "form in the drawer")
    board.page.keyboard.press("Escape")
    board.by_id(ids.KEYS_BUTTON).click()
    found += violations(board, "list of keys")
    assert not found, "\n".join(found)


def test_the_skip_link_leads_past_the_header(board: Dashboard, served: Served) -> None:
    board.open(served.run_path)
    board.page.keyboard.press("Tab")
    skip = board.page.locator(".skip")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    board.page.keyboard.press("Enter")
    board.page.keyboard.press("Tab")
    assert board.page.evaluate(f"document.getElementById('{ids.PAGE}').contains(document.activeElement)")


def test_focus_is_seen_on_everything_that_takes_it(board: Dashboard, served: Served) -> None:
    """Tab through the whole page of a layer: each stop has an outline, a border or a shadow of its own."""
    board.open(served.layer_path(1, "up_proj"))
    board.plot(ids.LAYER_GRAPH)
    seen, unseen = 0, []
    for _ in range(60):
        board.page.keyboard.press("Tab")
        stop = board.page.evaluate(
            """() => { const e = document.activeElement; if (!e || e === document.body) return null;
            const of = x => { const s = getComputedStyle(x);
              return [s.outlineStyle + s.outlineWidth + s.outlineColor, s.boxShadow, s.borderColor].join(); };
            const shown = of(e); e.blur(); const plain = of(e); e.focus({focusVisible: true});
            return [e.outerHTML.slice(0, 90), shown !== plain]; }"""
        )
        if stop is None:
            break
        seen += 1
        if not stop[1]:
            unseen.append(stop[0])
    assert seen > 20
    assert unseen == []


def test_each_plot_has_a_summary_and_its_numbers_as_a_table(board: Dashboard, served: Served) -> None:
    best = served.client.neurons(served.run, sort="-wd", limit=1).items[0]
    board.open(served.neuron_path(best.layer, best.projection, best.index))
    board.plot(ids.DISTRIBUTION_GRAPH)
    for plot in board.page.locator(".plot").all():
        assert len(plot.get_attribute("aria-label") or "") > 20
    graph = board.page.locator(f".plot:has(#{ids.DISTRIBUTION_GRAPH})")
    details = graph.locator("xpath=following-sibling::details")
    details.locator("summary").focus()
    board.page.keyboard.press("Enter")
    rows = details.locator("tbody tr")
    drawn = board.page.evaluate(
        f"document.querySelector('#{ids.DISTRIBUTION_GRAPH} .js-plotly-plot')._fullData"
        ".filter(t => t.visible === true && t.x).reduce((n, t) => n + t.x.length, 0)"
    )
    expect(rows).to_have_count(min(500, drawn))
    expect(details.locator("caption")).to_contain_text("rows")
