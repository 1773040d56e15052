"""Pruning and expansion of the real model: the demo's run, through its API, and the numbers it must show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from app.settings import Settings
from app.store import Store
from tests.conftest import Demo
from worker.jobs.layer_inputs import Group, collect
from worker.jobs.session import Session
from worker.numerics.hessian import hessian
from worker.numerics.pruning import prune
from worker.numerics.spec import PruneSpec
from worker.progress import LocalProgress

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def run(demo: Demo) -> str:
    return str(demo.get("/runs")["items"][0]["id"])


def post(demo: Demo, path: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{demo.url}/api/v1{path}", json=body, timeout=60)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def finished(demo: Demo, submitted: dict[str, Any]) -> None:
    """Wait for the job of a submitted request, through its stream of events."""
    if submitted["job"] is None:
        return
    with httpx.stream(
        "GET", f"{demo.url}/api/v1/jobs/{submitted['job']['id']}/events", timeout=300
    ) as events:
        for line in events.iter_lines():
            if line == "event: end":
                break
    job = demo.get(f"/jobs/{submitted['job']['id']}")
    assert (job["state"], job["problem"]) == ("finished", None)


@pytest.fixture(scope="module")
def variants(demo: Demo, run: str) -> dict[str, str]:
    """Block 15 and the gate of block 29 at 90 %: SparseGPT, and 16 experts."""
    made = {}
    for name, path, more in (("pruning", "prunings", {}), ("expansion", "expansions", {"experts": 16})):
        for coverage in ({"layers": [15]}, {"layers": [29], "projections": ["gate_proj"]}):
            submitted = post(demo, f"/runs/{run}/{path}", sparsity=0.9, **coverage, **more)
            finished(demo, submitted)
            made[name] = submitted[name]["id"]
    return made


def errors(demo: Demo, run: str, path: str, variant: str) -> dict[tuple[int, str], float]:
    layers = demo.get(f"/runs/{run}/{path}/{variant}")["layers"]
    return {(row["layer"], row["projection"]): row["relative_error"] for row in layers}


def test_relative_errors_at_90_percent(demo: Demo, run: str, variants: dict[str, str]) -> None:
    """Seen by an independent program at 16,384 tokens: block 15 up .381 and .286, down .276 and .183, block 29 gate
    .219 and .158; here on 8,192 tokens.
    """
    one = errors(demo, run, "prunings", variants["pruning"])
    many = errors(demo, run, "expansions", variants["expansion"])
    assert one[15, "up_proj"] == pytest.approx(0.38, abs=0.02)
    assert many[15, "up_proj"] == pytest.approx(0.28, abs=0.03)
    assert one[29, "gate_proj"] == pytest.approx(0.22, abs=0.02)
    assert many[29, "gate_proj"] == pytest.approx(0.155, abs=0.02)
    assert one[15, "down_proj"] == pytest.approx(0.275, abs=0.02)
    assert many[15, "down_proj"] < 0.21


def test_entangled_neurons_gain_more_from_experts(demo: Demo, run: str, variants: dict[str, str]) -> None:
    values = demo.get(f"/runs/{run}/layers/15/up_proj", metrics=["wd", "ri", "weighted_wd"], **variants)[
        "metrics"
    ]
    wd, ri = np.array(values["wd"]), np.array(values["ri"])
    top = np.argsort(-wd)[:46]
    assert np.median(ri) > 1.1
    assert np.median(ri[top]) > np.median(ri)
    assert np.mean(np.array(values["weighted_wd"])[top] < wd[top]) > 0.9  # Fig. 5 of the paper: 98 %


def test_a_neurons_distributions_come_in_milliseconds(demo: Demo, run: str, variants: dict[str, str]) -> None:
    row = demo.get(f"/runs/{run}/neurons", layer=15, projection="up_proj", sort="-ri", limit=1, **variants)[
        "items"
    ][0]
    path = f"/runs/{run}/layers/15/up_proj/neurons/{row['index']}/distributions"
    found = demo.get(path, **variants)
    assert found["ri"] == pytest.approx(row["effects"]["ri"])
    assert sum(found["dense"]) == sum(found["pruning"]["counts"]) == sum(found["expansion"]["counts"]) == 8192
    experts = found["expansion"]["experts"]
    assert len(experts) == 16
    assert np.sum([e["counts"] for e in experts], axis=0).tolist() == found["expansion"]["counts"]
    assert sum(e["tokens"] for e in experts) == 8192
    times = []
    for _ in range(10):
        start = time.perf_counter()
        demo.get(path, **variants)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.25  # milliseconds; a guard against reading whole layers, not a measurement


@pytest.fixture(scope="module")
def blocks(demo: Demo, run: str) -> Iterator[dict[int, list[Group]]]:
    """Inputs and weights of three real blocks, from the demo's store."""
    settings = Settings(
        store=str(demo.folder / "store"), cache=demo.folder / "cache", device="cpu", redis_url=None
    )
    with torch.no_grad():
        session = Session.open(run, settings, Store(settings.store), torch.device("cpu"), LocalProgress())
        found = {}
        for layer in (0, 15, 29):
            with session.model.block(layer) as block:
                groups = collect(block, session.dense_inputs(layer), LocalProgress())
                found[layer] = [
                    Group(g.inputs, tuple(type(x)(x.projection, x.weight.clone(), x.bias) for x in g.linears))
                    for g in groups
                ]
        yield found


@pytest.mark.parametrize("amount", [{"sparsity": 0.5}, {"sparsity": 0.9}, {"zeros": 2, "group": 4}])
def test_sparsegpt_is_never_worse_than_wanda_or_magnitude(
    blocks: dict[int, list[Group]], amount: dict[str, Any]
) -> None:
    for layer, groups in blocks.items():
        for group in groups:
            found = hessian(group.inputs)
            for linear in group.linears:
                error = {
                    method: float(prune(linear.weight, found, PruneSpec(method, **amount)).row_error.sum())
                    for method in ("sparsegpt", "wanda", "magnitude")
                }
                where = f"block {layer} {linear.projection.name}"
                assert error["sparsegpt"] <= min(error["wanda"], error["magnitude"]), where


def test_perplexity_of_the_dense_model(demo: Demo, run: str, variants: dict[str, str]) -> None:
    submitted = post(demo, f"/runs/{run}/evaluations", variants=[variants["pruning"], variants["expansion"]])
    finished(demo, submitted)
    found = demo.get(f"/runs/{run}/evaluations/{submitted['evaluation']['id']}")
    dense, pruned, expanded = found["results"]
    assert dense["perplexity"] == pytest.approx(9.87, rel=0.005)
    assert dense["perplexity"] < expanded["perplexity"] < pruned["perplexity"]
    assert (found["tokens"], found["windows"]) == (8176, 16)
