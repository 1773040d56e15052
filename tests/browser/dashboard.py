"""The dashboard as a person uses it: open, look, click. Knows where things are, tests know what they must be."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect

from frontend import ids

CELL = """([id, subplot, x, y]) => {
  const plot = document.querySelector(`#${id} .js-plotly-plot`), layout = plot._fullLayout;
  const n = subplot === 0 ? '' : subplot + 1, box = plot.getBoundingClientRect();
  const xaxis = layout['xaxis' + n], yaxis = layout['yaxis' + n];
  return [box.x + xaxis._offset + xaxis.d2p(x), box.y + yaxis._offset + yaxis.d2p(y)];
}"""
"""Where on the screen a point of a plot is; subplots are numbered from 0."""

DRAWN = "id => document.querySelector(`#${id} .js-plotly-plot .main-svg`) !== null"

FILLED = """() => Array.from(document.querySelectorAll('.plot')).every(place => {
  const plot = place.querySelector('.js-plotly-plot'), drawn = plot && plot.querySelector('.main-svg');
  return drawn && Math.abs(drawn.getBoundingClientRect().width - plot.getBoundingClientRect().width) < 2; })"""
"""Whether every plot is drawn, as wide as its place."""


def shown_number(text: str) -> float:
    """A number as it is printed: separated thousands, a real minus sign."""
    return float(text.strip().replace(",", "").replace("−", "-"))


class Dashboard:
    """One browser tab with the dashboard at `url`."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url

    def open(self, path: str) -> None:
        """Type an address and wait until its page stands."""
        self.page.goto(self.url + path)
        self.settled()

    def settled(self) -> None:
        """Wait until the page has come and nothing is loading."""
        expect(self.page.locator(f"#{ids.PAGE}.page:not(.loading) > :not(.skeletons)").first).to_be_visible()

    def at(self, path: str) -> None:
        """Wait until the address is `path` (its query aside) and its page stands."""
        expect(self.page).to_have_url(re.compile(re.escape(self.url + path) + r"(\?.*)?$"))
        self.settled()

    def shows_neuron(self, path: str) -> None:
        """Wait until the neuron of `path` is on the screen."""
        self.at(path)
        layer, projection, index = re.findall(r"/layers/(\d+)/(\w+)/neurons/(\d+)$", path)[0]
        expect(self.title).to_have_text(f"Neuron {index} of block {layer} · {projection}")

    @property
    def title(self) -> Locator:
        return self.page.locator("h1")

    def by_id(self, name: str) -> Locator:
        return self.page.locator(f"#{name}")

    def plot(self, name: str) -> dict[str, Any]:
        """A drawn plot's traces and layout, as Plotly has them."""
        self.page.wait_for_function(DRAWN, arg=name)
        found: dict[str, Any] = self.page.evaluate(
            "id => { const p = document.querySelector(`#${id} .js-plotly-plot`);"
            " return {data: p.calcdata.map(c => c[0].trace.type), shapes: p.layout.shapes || [],"
            " y: p._fullLayout.yaxis.type}; }",
            name,
        )
        return found

    def click_cell(self, name: str, x: float, y: float, *, subplot: int = 0) -> str:
        """Point at a heatmap's cell, read its hover text, click it."""
        self.page.wait_for_function(DRAWN, arg=name)
        self.by_id(name).scroll_into_view_if_needed()
        left, top = self.page.evaluate(CELL, [name, subplot, x, y])
        self.page.mouse.move(left - 1, top)
        self.page.mouse.move(left, top)
        hover = self.by_id(name).locator(".hovertext")
        expect(hover).to_be_visible()
        text = hover.text_content() or ""
        self.page.mouse.click(left, top)
        return text

    def row(self, number: int) -> Locator:
        """A row of the ranked table, from 0."""
        return self.by_id(ids.NEURON_TABLE).locator(
            f".ag-center-cols-container .ag-row[row-index='{number}']"
        )

    def cell(self, number: int, column: str) -> str:
        """What a cell of the ranked table shows."""
        cell = self.row(number).locator(f"[col-id='{column}']")
        expect(cell).not_to_be_empty()
        return cell.inner_text()

    def click_row(self, number: int, column: str) -> None:
        """Click a row of the ranked table once its data have come."""
        self.cell(number, column)
        self.row(number).locator(f"[col-id='{column}']").click()

    def number(self, name: str) -> tuple[float, float]:
        """One number of the neuron page: as shown, and in full from its tooltip."""
        cell = self.by_id(ids.number(name))
        return shown_number(cell.inner_text()), float(cell.get_attribute("title") or "nan")

    @property
    def scheme(self) -> str:
        """light or dark."""
        return str(self.page.locator("html").get_attribute("data-mantine-color-scheme"))
