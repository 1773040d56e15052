"""Pictures of the dashboard for the README and the docs: docs/images/{map,layer,neuron}-{light,dark}.png.

    python scripts/screenshots.py --url http://127.0.0.1:8000

Needs a running server with a finished run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from app.client import Client
from app.errors import WasserscopeError
from app.schemas.run import RunState
from frontend import ids, paths

FOLDER = Path(__file__).parents[1] / "docs" / "images"
SIZE: ViewportSize = {"width": 1280, "height": 800}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def addresses(url: str) -> dict[str, tuple[str, str]]:
    """Name of the picture -> path and the plot to wait for; the layer and neuron of the highest WD."""
    with Client(url) as client:
        run = next((run for run in client.runs().items if run.state is RunState.finished), None)
        if run is None:
            sys.exit(f"No finished run at {url}: start one with `wasserscope up --explore demo`.")
        # Of a layer that widens: where the paper looks, and free of the attention sinks that rule some narrowing ones.
        wide = next(p.name for p in run.model.projections if p.out_features > p.in_features)
        top = client.neurons(run.id, sort="-wd", projection=wide, limit=1).items[0]
    place = (run.id, top.layer, top.projection)
    return {
        "map": (paths.run_path(run.id), ids.MAP_GRAPH),
        "layer": (paths.layer_path(*place), ids.LAYER_GRAPH),
        "neuron": (paths.neuron_path(*place, top.index), ids.DISTRIBUTION_GRAPH),
    }


def shoot(
    browser: Browser, url: str, scheme: Literal["light", "dark"], pictures: dict[str, tuple[str, str]]
) -> None:
    """Every picture in one colour scheme."""
    context = browser.new_context(viewport=SIZE, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    for name, (path, plot) in pictures.items():
        page.goto(url + path)
        page.wait_for_selector(
            f"#{plot} .js-plotly-plot .cartesianlayer :is(image, .trace)", state="attached"
        )
        if name == "layer":
            page.wait_for_selector(f"#{ids.NEURON_TABLE} [row-index='0'] [col-id='wd']:not(:empty)")
        page.screenshot(path=FOLDER / f"{name}-{scheme}.png")
        print(FOLDER / f"{name}-{scheme}.png")
    context.close()


def main() -> None:
    """Take all six."""
    parser = argparse.ArgumentParser(description="Take the pictures of the dashboard.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="a running server with a finished run")
    url = parser.parse_args().url.rstrip("/")
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        pictures = addresses(url)
    except WasserscopeError as error:
        sys.exit(f"{error.title}: {error.detail} {error.hint}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        shoot(browser, url, "light", pictures)
        shoot(browser, url, "dark", pictures)
        browser.close()


if __name__ == "__main__":
    main()
