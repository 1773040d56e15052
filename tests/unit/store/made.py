"""Small made-up runs: 3 blocks, gate_proj (70 neurons) and down_proj (20), 40 tokens in windows of 16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from app.schemas.model import Projection
from app.schemas.run import RunModel, RunRequest
from app.store import Store
from app.store.manifest import RunFacts
from app.store.scores import SCHEMA

BLOCKS, TOKENS, WINDOW = 3, 40, 16
WIDTHS = {"gate_proj": 70, "down_proj": 20}
FACTS = RunFacts(tokens=TOKENS, pairs=20, gaussian_floor=0.2, device="cpu", versions={"torch": "2"})


def request(**changes: Any) -> RunRequest:
    return RunRequest(
        **{"model": "path:tiny", "tokens": TOKENS, "window": WINDOW, "pairs": 20, "top_share": 0.1} | changes
    )


def model() -> RunModel:
    projections = [
        Projection(name=name, module=f"mlp.{name}", in_features=8, out_features=width)
        for name, width in WIDTHS.items()
    ]
    return RunModel(
        source="path:tiny",
        title="Tiny Llama (1.0)",
        fingerprint="f" * 16,
        family="llama",
        dtype="float32",
        blocks=BLOCKS,
        d_model=8,
        projections=projections,
    )


def tokens() -> pa.Table:
    position = np.arange(TOKENS)
    return pa.table(
        {
            "position": position,
            "window": position // WINDOW,
            "offset": position % WINDOW,
            "token": position + 100,
            "piece": [f" t{i}" for i in position],
        }
    )


def wd(layer: int, projection: str) -> list[float | None]:
    """WDs with a tie (neurons 3 and 4) and a constant neuron (0)."""
    rng = np.random.default_rng([layer, len(projection)])
    values: list[float | None] = list(rng.uniform(0, 1, WIDTHS[projection]).round(3))
    values[4] = values[3]
    values[0] = None
    return values


def block(layer: int) -> tuple[pa.Table, dict[str, dict[str, np.ndarray[Any, Any]]]]:
    tables, arrays = [], {}
    for name, width in WIDTHS.items():
        columns: dict[str, Any] = {column: np.arange(width) + layer / 8 for column in SCHEMA.names}
        columns |= {"layer": [layer] * width, "projection": [name] * width, "index": np.arange(width)}
        columns |= {"wd": wd(layer, name), "constant": np.arange(width) == 0}
        columns["entropy"] = [None] + [1.0] * (width - 1)
        columns["high"] = columns["low"] + 2.0
        tables.append(
            pa.table(
                {column: pa.array(columns[column], SCHEMA.field(column).type) for column in SCHEMA.names}
            )
        )
        rows = np.arange(width, dtype=np.int32)[:, None]
        arrays[name] = {
            "counts": rows * 1000 + np.arange(256, dtype=np.int32) + layer,
            "quantiles": (rows + np.linspace(0, 1, 257)).astype(np.float32),
            "token_positions": np.stack(
                [(rows + k * 10 + np.arange(16)) % TOKENS for k in range(3)], 1
            ).astype(np.int32),
            "token_values": np.zeros((width, 3, 16), dtype=np.float32) + rows[:, :, None],
        }
    return pa.concat_tables(tables), arrays


def write_block(store: Store, run: str, layer: int) -> None:
    stamp = store.write_inputs(run, layer, [b"inputs ", f"of {layer}".encode()])
    table, arrays = block(layer)
    store.write_block(run, layer, stamp, table, arrays, seconds=1.5)


def make_run(store: Store, blocks: int = BLOCKS) -> str:
    run = store.create_run(request(), model(), "Made up")
    store.write_tokens(run, tokens(), FACTS)
    for layer in range(blocks):
        write_block(store, run, layer)
    if blocks == BLOCKS:
        store.finish(run, seconds=0.5, peak_bytes=123)
    return run
