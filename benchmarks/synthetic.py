"""A made-up run of 1.4 million neurons, to look at the dashboard and measure the service at the size of a large model.

    python -m benchmarks.synthetic --store big           # 1,441,792 neurons, about half a minute and 0.3 GB
    WASSERSCOPE_STORE=big wasserscope up

Shapes are Llama-3-8B's (gate and up 14,336, down 4,096 wide) in 44 blocks instead of 32, for 1.4 million neurons. It is
written by the store's own writer, so it has the store's format whatever becomes of it. No model was run: each group of
16 neighbouring neurons shares a sorted sample of outputs between a Gaussian and a far one, from which histogram,
quantiles, extreme tokens, WD, moments and entropy are taken; scores within a group then differ by up to 0.1 %, so that
ranks are without ties. All is the same for the same seed.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from app.schemas.model import Projection
from app.schemas.run import RunModel, RunRequest
from app.store import Store
from app.store.manifest import RunFacts
from app.store.scores import SCHEMA

D_MODEL, D_FF, BLOCKS = 4096, 14336, 44
TOKENS, WINDOW = 4096, 512
TWINS = 16
"""Neighbouring neurons that share their distribution."""
JITTER = 1e-3
WORDS = ("the", "of", "and", "to", "in", "is", "a", "value", "name", "object", "class", "statement", "module")
Array = np.ndarray[Any, Any]


def model(blocks: int = BLOCKS, d_model: int = D_MODEL, d_ff: int = D_FF) -> RunModel:
    """A model of these shapes."""
    shapes = {"gate_proj": (d_model, d_ff), "up_proj": (d_model, d_ff), "down_proj": (d_ff, d_model)}
    return RunModel(
        source="path:synthetic",
        title=f"Synthetic, {blocks * (2 * d_ff + d_model):,} neurons",
        fingerprint=f"synthetic-{blocks}-{d_model}-{d_ff}",
        family="llama",
        dtype="float32",
        blocks=blocks,
        d_model=d_model,
        projections=[
            Projection(name=name, module=f"mlp.{name}", in_features=inputs, out_features=outputs)
            for name, (inputs, outputs) in shapes.items()
        ],
    )


def make(store: Store, made: RunModel | None = None, seed: int = 0, processes: int = 2) -> str:
    """Write the run; its id. A run that is there already is left as it is."""
    made = made or model()
    request = RunRequest(model=made.source, tokens=TOKENS, window=WINDOW, pairs=TOKENS // 2, seed=seed)
    run = store.create_run(request, made, "Made-up text")
    if store.manifest(run) is not None:
        return run
    started = time.monotonic()
    facts = RunFacts(
        tokens=TOKENS,
        pairs=TOKENS // 2,
        gaussian_floor=_floor(),
        device="none (synthetic)",
        versions={"numpy": np.__version__},
    )
    store.write_tokens(run, _tokens(seed), facts)
    # Spawned, not forked: whoever calls this may have threads.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(_write_block, store.files.url, run, layer, made, seed) for layer in range(made.blocks)
        ]
        for job in jobs:
            job.result()
    store.forget(run)
    store.finish(run, seconds=time.monotonic() - started)
    return run


def _write_block(url: str, run: str, layer: int, made: RunModel, seed: int) -> None:
    store, tables, arrays = Store(url), [], {}
    for place, projection in enumerate(made.projections):
        rng = np.random.default_rng([seed, layer, place])
        table, arrays[projection.name] = _layer(rng, layer, made.blocks, projection)
        tables.append(table)
    inputs = store.write_inputs(run, layer, [b""])  # nothing can be pruned or expanded: there are no weights
    store.write_block(run, layer, inputs, pa.concat_tables(tables), arrays, seconds=0.0)


def _layer(
    rng: np.random.Generator, layer: int, blocks: int, projection: Projection
) -> tuple[pa.Table, dict[str, Array]]:
    """Scores and arrays of one layer."""
    count = projection.out_features
    groups = -(-count // TWINS)
    outputs, mean, std = _outputs(rng, groups, layer / blocks)
    spread = _spread(outputs)
    outputs = outputs * std[:, None].astype(np.float32) + mean[:, None].astype(np.float32)
    counts = _counts(outputs)
    twins = np.repeat(np.arange(groups), TWINS)[:count]
    jitter = 1 + JITTER * rng.uniform(-1, 1, count)
    columns: dict[str, Any] = {
        "layer": np.full(count, layer),
        "projection": [projection.name] * count,
        "index": np.arange(count),
        "mean": mean[twins],
        "std": std[twins],
        "constant": np.zeros(count, dtype=bool),
        "low": outputs[twins, 0].astype(float),
        "high": outputs[twins, -1].astype(float),
        "entropy": _entropy(counts, (outputs[:, -1] - outputs[:, 0]) / std)[twins] * jitter,
        "md": rng.gamma(20, 0.05, count) * (1 + spread["wd"][twins]),
        "mean_abs_weight": rng.gamma(60, 0.0005, count),
        "weight_norm": rng.gamma(200, 0.01, count),
        "zero_share": np.zeros(count),
        **{name: values[twins] * jitter for name, values in spread.items()},
    }
    table = pa.table({f.name: pa.array(columns[f.name], f.type) for f in SCHEMA}, schema=SCHEMA)
    place = np.linspace(0, TOKENS - 1, 257).round().astype(int)
    shown = rng.choice(TOKENS, 16, replace=False)
    picked = np.stack([np.arange(TOKENS)[::-1][:16], np.arange(16), np.sort(shown)])
    where = rng.permutation(TOKENS).astype(np.int32)  # which token had the output of a rank
    offset = rng.integers(0, TOKENS, (groups, 1, 1))
    return table, {
        "counts": counts[twins],
        "quantiles": outputs[:, place][twins],
        "token_positions": ((where[picked][None] + offset) % TOKENS).astype(np.int32)[twins],
        "token_values": outputs[:, picked][twins],
    }


def _outputs(rng: np.random.Generator, groups: int, depth: float) -> tuple[Array, Array, Array]:
    """Sorted standardised outputs (groups, TOKENS), and what their mean and deviation shall be, (groups,) each.

    Farther from the Gaussian in the middle of the model, and a few per layer much farther: Wasserstein neurons.
    """
    gaussian, far = _gaussian(), _far_shapes()
    share = rng.beta(2, 18, groups) * (0.6 + 1.2 * np.sin(np.pi * depth))
    entangled = rng.random(groups) < 0.03
    share = np.where(entangled, rng.uniform(0.4, 0.95, groups), share).clip(0, 1)
    kind = rng.integers(0, len(far), groups)
    mixed = far[kind] - gaussian
    mixed *= share[:, None].astype(np.float32)
    mixed += gaussian
    mixed /= np.sqrt(np.einsum("ij,ij->i", mixed, mixed) / TOKENS)[:, None]  # of mean 0, as both are
    std = rng.lognormal(-0.5 + depth, 0.3, groups)
    return mixed, rng.normal(-0.1, 0.3, groups) * std, std


@cache
def _gaussian() -> Array:
    """The sorted sample of a Gaussian, float32."""
    places = (np.arange(TOKENS) + 0.5) / TOKENS
    return np.array([NormalDist().inv_cdf(place) for place in places], dtype=np.float32)


@cache
def _far_shapes() -> Array:
    """Sorted samples far from a Gaussian, standardised: one-sided either way, heavy-tailed, and two with two modes."""
    places = (np.arange(TOKENS) + 0.5) / TOKENS
    gaussian = _gaussian()
    heavy = np.sign(places - 0.5) * -np.log(1 - np.abs(2 * places - 1))
    two = [np.sort(gaussian * 0.3 + np.where(np.arange(TOKENS) % 8 < part, 2.5, 0.0)) for part in (1, 4)]
    shapes = np.stack([-np.log(1 - places), np.log(places), heavy, *two])
    return ((shapes - shapes.mean(1, keepdims=True)) / shapes.std(1, keepdims=True)).astype(np.float32)


def _spread(outputs: Array) -> dict[str, Array]:
    """WD, skew and excess kurtosis of sorted standardised outputs."""
    square = outputs * outputs
    return {
        "wd": np.abs(outputs - _gaussian()).mean(1, dtype=float),
        "skew": (square * outputs).mean(1, dtype=float),
        "kurtosis": (square * square).mean(1, dtype=float) - 3,
    }


def _counts(outputs: Array) -> Array:
    """Tokens in each of 256 bins over each row's range; (groups, TOKENS) ascending to (groups, 256) int32."""
    low, width = outputs[:, :1], (outputs[:, -1:] - outputs[:, :1]) / 256
    bins = np.minimum((outputs - low) / width, 255).astype(np.int64) + 256 * np.arange(len(outputs))[:, None]
    return np.bincount(bins.ravel(), minlength=256 * len(outputs)).reshape(-1, 256).astype(np.int32)


def _entropy(counts: Array, widths: Array) -> Array:
    """Differential entropy in nats of standardised outputs, from bins over a range of `widths` deviations."""
    share = counts / TOKENS
    logs = np.log(np.where(share > 0, share, 1))
    return np.asarray(np.log(widths / 256) - (share * logs).sum(1))


def _floor() -> float:
    """Mean WD of Gaussian samples of as many tokens."""
    samples = np.sort(np.random.default_rng(0).standard_normal((64, TOKENS), dtype=np.float32), axis=1)
    samples -= samples.mean(1, keepdims=True)
    samples /= samples.std(1, keepdims=True)
    return float(_spread(samples)["wd"].mean())


def _tokens(seed: int) -> pa.Table:
    position = np.arange(TOKENS)
    token = np.random.default_rng(seed).integers(0, len(WORDS), TOKENS)
    columns = {
        "position": position,
        "window": position // WINDOW,
        "offset": position % WINDOW,
        "token": token,
        "piece": [f" {WORDS[place]}" for place in token],
    }
    return pa.table(columns)


def main() -> None:
    """Write the run into a store and say what it takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="folder or URL of the store to write into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    given = parser.parse_args()
    started, store = time.monotonic(), Store(given.store)
    run = make(store, model(given.blocks), given.seed)
    size = store.files.fs.du(store.files.path(f"runs/{run}"))
    print(
        f"{run}: {store.run(run).neurons:,} neurons, {time.monotonic() - started:.0f} s, {size / 1e6:,.0f} MB"
    )


if __name__ == "__main__":
    main()
