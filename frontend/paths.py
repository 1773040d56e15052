"""Addresses of the pages: identity in the path, view state in the query. Built and read in this one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from app.schemas.evaluation import EVALUATION_PATTERN
from app.schemas.job import JOB_PATTERN
from app.schemas.run import RUN_PATTERN

MAX_INDEX_DIGITS = 9
"""Longer numbers name no layer and no neuron."""


@dataclass(frozen=True)
class Place:
    """Where in the dashboard an address points; `page` is one of map, new, layer, neuron, sweep, variants, evaluation,
    jobs, job, nowhere.
    """

    page: str
    run: str | None = None
    layer: int = 0
    projection: str = ""
    index: int = 0
    job: str = ""
    evaluation: str = ""
    query: dict[str, str] = field(default_factory=dict)
    origin: str = "http://127.0.0.1:8000"
    """Scheme, host and port the browser used; for commands to copy."""
    path: str = "/"
    """The address without its query."""


def read(pathname: str | None, search: str | None, href: str | None = None) -> Place:
    """The place an address names; `nowhere` when it is none of ours. `href` tells the origin."""
    place = replace(_read(pathname, search), path=pathname or "/")
    parts = urlsplit(href or "")
    return replace(place, origin=f"{parts.scheme}://{parts.netloc}") if parts.netloc else place


def _read(pathname: str | None, search: str | None) -> Place:
    query = query_of(search)
    parts = [unquote(part) for part in (pathname or "/").strip("/").split("/")]
    match parts:
        case [""]:
            return Place("map", query=query)
        case ["new"]:
            return Place("new", query=query)
        case ["jobs"]:
            return Place("jobs", query=query)
        case ["jobs", job] if re.fullmatch(JOB_PATTERN, job):
            return Place("job", job=job, query=query)
        case ["runs", run, *rest] if re.fullmatch(RUN_PATTERN, run):
            return _inside_run(run, rest, query)
    return Place("nowhere", query=query)


def _inside_run(run: str, rest: list[str], query: dict[str, str]) -> Place:
    match rest:
        case []:
            return Place("map", run, query=query)
        case ["variants"]:
            return Place("variants", run, query=query)
        case ["evaluations", evaluation] if re.fullmatch(EVALUATION_PATTERN, evaluation):
            return Place("evaluation", run, evaluation=evaluation, query=query)
        case ["layers", layer, projection] if _whole(layer):
            return Place("layer", run, int(layer), projection, query=query)
        case ["layers", layer, projection, "neurons", index] if _whole(layer) and _whole(index):
            return Place("neuron", run, int(layer), projection, int(index), query=query)
        case ["layers", layer, projection, "neurons", index, "sweep"] if _whole(layer) and _whole(index):
            return Place("sweep", run, int(layer), projection, int(index), query=query)
    return Place("nowhere", run, query=query)


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_INDEX_DIGITS


def run_path(run: str) -> str:
    """Address of a run's map."""
    return f"/runs/{quote(run, safe='')}"


def layer_path(run: str, layer: int, projection: str) -> str:
    """Address of a layer."""
    return f"{run_path(run)}/layers/{layer}/{quote(projection, safe='')}"


def neuron_path(run: str, layer: int, projection: str, index: int) -> str:
    """Address of a neuron."""
    return f"{layer_path(run, layer, projection)}/neurons/{index}"


def sweep_path(run: str, layer: int, projection: str, index: int) -> str:
    """Address of a neuron's sweep."""
    return f"{neuron_path(run, layer, projection, index)}/sweep"


def variants_path(run: str) -> str:
    """Address of what was made from a run: its prunings, expansions and evaluations."""
    return f"{run_path(run)}/variants"


def evaluation_path(run: str, evaluation: str) -> str:
    """Address of an evaluation."""
    return f"{run_path(run)}/evaluations/{quote(evaluation, safe='')}"


def job_path(job: str) -> str:
    """Address of a job."""
    return f"/jobs/{quote(job, safe='')}"


def with_query(path: str, query: Mapping[str, str | None]) -> str:
    """`path` with a query of the entries that have a value."""
    kept = {key: value for key, value in query.items() if value}
    return f"{path}?{urlencode(kept)}" if kept else path


PIN = "pin"
"""Entry of the query that names the pinned neuron, layer or run."""
VARIANTS = ("pruning", "expansion", PIN)
"""Entries of the query that are kept from page to page: what was done to the run's layers, and what is pinned."""


def variants(query: Mapping[str, str]) -> dict[str, str | None]:
    """The pruning, the expansion and the pin that a query names."""
    return {key: query.get(key) for key in VARIANTS}


def keep_variants(path: str, search: str | None) -> str:
    """`path` with the pruning, the expansion and the pin of the address one comes from."""
    return with_query(path, variants(query_of(search)))


FOLLOWED = frozenset({"selected", "from", "sort", "where", "wd"})
"""Entries of the query that parts of a page follow by themselves: no page is made anew for them."""


def lasting(pathname: str | None, search: str | None) -> str:
    """The address without what is followed: what a page was made for."""
    query = query_of(search)
    return with_query(pathname or "/", {key: query[key] for key in sorted(query.keys() - FOLLOWED)})


def query_of(search: str | None) -> dict[str, str]:
    """The entries of a query."""
    return dict(parse_qsl((search or "").removeprefix("?")))


def pin_of(place: Place) -> str | None:
    """What `pin` says of a neuron's, a layer's or a run's page; None for any other page."""
    parts = {
        "map": [place.run],
        "layer": [place.run, str(place.layer), place.projection],
        "neuron": [place.run, str(place.layer), place.projection, str(place.index)],
    }.get(place.page)
    return "/".join(map(str, parts)) if parts and place.run else None


def read_pin(text: str | None) -> Place | None:
    """The place that a pin names; None without one, or for what names no neuron, layer or run."""
    match (text or "").split("/"):
        case [run]:
            rest: list[str] = []
        case [run, layer, projection]:
            rest = ["layers", layer, projection]
        case [run, layer, projection, index]:
            rest = ["layers", layer, projection, "neurons", index]
        case _:
            return None
    if not re.fullmatch(RUN_PATTERN, run):
        return None
    found = _inside_run(run, rest, {})
    return None if found.page == "nowhere" else found


def path_of(place: Place) -> str:
    """Address of a neuron's, a layer's or a run's page."""
    run = place.run or ""
    if place.page == "neuron":
        return neuron_path(run, place.layer, place.projection, place.index)
    return layer_path(run, place.layer, place.projection) if place.page == "layer" else run_path(run)


def keep_pin(path: str, search: str | None) -> str:
    """`path` with the pin alone: prunings and expansions belong to one run."""
    return with_query(path, {PIN: query_of(search).get(PIN)})


def jump_path(run: str, text: str) -> str | None:
    """Address of `layer.projection.index` or `layer.projection` as typed into the jump box; None if it is neither."""
    found = re.fullmatch(
        r"\s*(\d{1,9})\s*[.\s/]\s*([A-Za-z_]\w*)(?:\s*[.\s/]\s*(\d{1,9}))?\s*", text, re.ASCII
    )
    if found is None:
        return None
    layer, projection, index = found.groups()
    if index is None:
        return layer_path(run, int(layer), projection)
    return neuron_path(run, int(layer), projection, int(index))
