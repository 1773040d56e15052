"""How long the API takes to answer what the pages ask, on any run: the 95th percentile beside its goal.

    python -m benchmarks.synthetic --store big
    python -m benchmarks.speed --store big               # the newest finished run there; 200 calls of each kind

The API runs in this process and is called through the client, as the dashboard calls it: times hold the store, the
service, JSON there and back, and no network. Neurons, layers and filters are drawn at random, so most calls are new.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles

import httpx
from fastapi import FastAPI

from app.client import AsyncClient
from app.main import create_api
from app.schemas.layer import LayerSummary, Metric
from app.schemas.run import Run, RunState
from app.settings import Settings

GOALS_MILLISECONDS = {"map": 150, "map, zoomed": 150, "layer": 150, "neuron list": 60, "neuron detail": 20}
METRICS = [metric for metric in Metric if not metric.needs]
Ask = Callable[[random.Random], Awaitable[object]]


def questions(client: AsyncClient, run: Run, layers: list[LayerSummary]) -> dict[str, Ask]:
    """One call of each kind, with what it asks for drawn at random."""

    def drawn(rng: random.Random) -> tuple[int, str, int]:
        found = rng.choice(layers)
        return found.layer, found.projection, rng.randrange(found.neurons)

    async def run_map(rng: random.Random) -> object:
        return await client.map(run.id, metric=rng.choice(METRICS))

    async def zoomed(rng: random.Random) -> object:
        first = rng.randrange(run.model.blocks)
        rank = rng.randrange(1, max(2, min(found.neurons for found in layers)))
        return await client.map(
            run.id, rng.choice(METRICS), first_layer=first, last_layer=first + 8, first_rank=rank
        )

    async def layer(rng: random.Random) -> object:
        block, projection, _ = drawn(rng)
        return await client.layer(run.id, block, projection, ["wd", "md", "kurtosis", "mean_abs_weight"])

    async def neurons(rng: random.Random) -> object:
        block, projection, _ = drawn(rng)
        sign, metric = rng.choice(["", "-"]), rng.choice(METRICS)
        where = rng.choice([{}, {"layer": block}, {"layer": block, "projection": projection}])
        offset = rng.choice([0, 100, 1000, 4000])
        return await client.neurons(
            run.id, sort=f"{sign}{metric}", min_wd=rng.uniform(0, 0.1), limit=100, offset=offset, **where
        )

    async def neuron(rng: random.Random) -> object:
        return await client.neuron(run.id, *drawn(rng))

    return {
        "map": run_map,
        "map, zoomed": zoomed,
        "layer": layer,
        "neuron list": neurons,
        "neuron detail": neuron,
    }


async def measure(ask: Ask, calls: int, rng: random.Random) -> list[float]:
    """Milliseconds of each call, one after the other."""
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        await ask(rng)
        times.append(1000 * (time.perf_counter() - started))
    return times


async def speed(store: str, calls: int) -> int:
    """Measure and print; how many goals were missed."""
    server = FastAPI()
    server.mount("/api", create_api(Settings(store=store, redis_url=None)))
    transport = httpx.ASGITransport(app=server, raise_app_exceptions=False)
    client, rng, missed = AsyncClient("http://speed", transport=transport), random.Random(0), 0
    run = next((run for run in (await client.runs()).items if run.state is RunState.finished), None)
    if run is None:
        sys.exit(f"No finished run in {store}: `python -m benchmarks.synthetic --store {store}` makes one.")
    started = time.perf_counter()
    layers = await client.layers(run.id)
    print(f"{run.id}: {run.neurons:,} neurons; read in {time.perf_counter() - started:.1f} s, milliseconds:")
    print(f"{'':16}{'median':>8}{'p95':>8}{'most':>8}{'goal':>8}")
    for name, ask in questions(client, run, layers).items():
        times = await measure(ask, calls, rng)
        high = quantiles(times, n=20)[-1]
        missed += high > GOALS_MILLISECONDS[name]
        numbers = (median(times), high, max(times), GOALS_MILLISECONDS[name])
        print(f"{name:16}" + "".join(f"{number:8.1f}" for number in numbers))
    await client.close()
    return missed


def main() -> None:
    """Measure the newest run of a store; the exit status is 1 when a goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="folder or URL of the store")
    parser.add_argument("--calls", type=int, default=200, help="calls of each kind")
    given = parser.parse_args()
    sys.exit(bool(asyncio.run(speed(given.store, given.calls))))


if __name__ == "__main__":
    main()
