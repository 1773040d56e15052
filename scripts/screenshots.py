"""Pictures of the dashboard for the README and the docs: docs/images/NAME-{light,dark}.webp, a picture of every view.

    python scripts/screenshots.py --url http://127.0.0.1:8000

Needs a running server with a finished run and a worker: the layer of the pictures is pruned and expanded if it is not
yet.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from app.client import Client
from app.errors import WasserscopeError
from app.schemas.expansion import ExpansionRequest
from app.schemas.job import JobState
from app.schemas.pruning import PruningRequest
from app.schemas.run import RunState
from frontend import ids, paths

FOLDER = Path(__file__).parents[1] / "docs" / "images"
WIDTH = 1280
MOST_KURTOSIS = 10
SLID_IN = """() => {
  const form = document.querySelector('.variant-form');
  return !form || form.closest('.mantine-Drawer-content').getBoundingClientRect().right <= innerWidth;
}"""
QUALITY = 0.82
PACK = """async ([png, quality]) => {
  const image = await createImageBitmap(await (await fetch('data:image/png;base64,' + png)).blob());
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext('2d').drawImage(image, 0, 0);
  const blob = await canvas.convertToBlob({type: 'image/webp', quality});
  return Array.from(new Uint8Array(await blob.arrayBuffer()));
}"""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Picture:
    """Where it is taken, what must be drawn before, how high it is, and the button to press first."""

    path: str
    wait_for: str
    height: int = 800
    press: str = ""


def pictures_of(url: str) -> dict[str, Picture]:
    """Pictures by name; the layer and neuron of the highest WD."""
    with Client(url) as client:
        run = next((run for run in client.runs().items if run.state is RunState.finished), None)
        if run is None:
            sys.exit(f"No finished run at {url}: start one with `wasserscope up --explore demo`.")
        # Of a layer that widens, where the paper looks, and without the few huge outputs of attention sinks, which would
        # leave all others in one bin.
        wide = next(p.name for p in run.model.projections if p.out_features > p.in_features)
        found = client.neurons(run.id, sort="-wd", projection=wide, limit=500).items
        top = next((row for row in found if (row.kurtosis or 0) < MOST_KURTOSIS), found[0])
        chosen = changed(client, run.id, top.layer, top.projection)
    place = (run.id, top.layer, top.projection)
    neuron = paths.neuron_path(*place, top.index)
    return {
        "map": Picture(paths.run_path(run.id), drawn(ids.MAP_GRAPH)),
        "layer": Picture(
            paths.layer_path(*place), f"#{ids.NEURON_TABLE} [row-index='0'] [col-id='wd']:not(:empty)"
        ),
        "neuron": Picture(neuron, drawn(ids.DISTRIBUTION_GRAPH)),
        "expanded": Picture(paths.with_query(neuron, chosen), drawn(ids.EXPERTS_GRAPH), height=1440),
        "form": Picture(
            paths.neuron_path(run.id, top.layer - 1 if top.layer else 1, top.projection, top.index),
            f"#{ids.VARIANT_ESTIMATE} .note",
            press="Expand…",
        ),
        "jobs": Picture("/jobs", f"#{ids.JOBS_TABLE} td, #{ids.EMPTY_STATE}"),
        "new": Picture("/new", f"#{ids.FORM_ESTIMATE} .note"),
        "variants": Picture(
            paths.with_query(paths.variants_path(run.id), chosen),
            f"#{ids.EVALUATE_ESTIMATE} .note",
            height=1100,
        ),
    } | evaluated(url, run.id)


def evaluated(url: str, run: str) -> dict[str, Picture]:
    """The newest finished evaluation, where there is one."""
    with Client(url) as client:
        found = next((one for one in client.evaluations(run).items if one.finished), None)
    return (
        {}
        if found is None
        else {"evaluation": Picture(paths.evaluation_path(run, found.id), f"#{ids.EVALUATIONS} td")}
    )


def changed(client: Client, run: str, layer: int, projection: str) -> dict[str, str | None]:
    """A pruning and an expansion of a layer, made if they are not there yet."""
    coverage = {"layers": [layer], "projections": [projection], "sparsity": 0.9}
    pruned = client.prune(run, PruningRequest(**coverage))
    expanded = client.expand(run, ExpansionRequest(**coverage))
    for job in (pruned.job, expanded.job):
        if job is not None and (last := list(client.events(job.id))[-1]).state is not JobState.finished:
            sys.exit(f"{last.title} is {last.state}: see its log.")
    return {"pruning": pruned.pruning.id, "expansion": expanded.expansion.id}


def drawn(plot: str) -> str:
    """Selector of a plot's first cells, bars or lines."""
    return f"#{plot} .js-plotly-plot .cartesianlayer :is(image, .trace)"


def shoot(browser: Browser, url: str, scheme: Literal["light", "dark"], pictures: dict[str, Picture]) -> None:
    """Every picture in one colour scheme."""
    for name, picture in pictures.items():
        size: ViewportSize = {"width": WIDTH, "height": picture.height}
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        page = context.new_page()
        page.goto(url + picture.path)
        if picture.press:
            page.wait_for_selector(drawn(ids.DISTRIBUTION_GRAPH), state="attached")
            page.get_by_role("button", name=picture.press).click()
        page.wait_for_selector(picture.wait_for, state="attached")
        page.wait_for_function(SLID_IN)
        path = FOLDER / f"{name}-{scheme}.webp"
        path.write_bytes(webp(page, page.screenshot()))
        print(path)
        context.close()


def webp(page: Page, png: bytes) -> bytes:
    """A picture in a third of the bytes, packed by the browser itself."""
    return bytes(page.evaluate(PACK, [base64.b64encode(png).decode(), QUALITY]))


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description="Take the pictures of the dashboard.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="a running server with a finished run")
    url = parser.parse_args().url.rstrip("/")
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        pictures = pictures_of(url)
    except WasserscopeError as error:
        sys.exit(f"{error.title}: {error.detail} {error.hint}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        shoot(browser, url, "light", pictures)
        shoot(browser, url, "dark", pictures)
        browser.close()


if __name__ == "__main__":
    main()
