"""Stored outputs of tiny random models, against the models' own modules and against what the run has scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from app.errors import Conflict, CorruptStore, NotFound
from app.schemas.outputs import OutputsQuery
from app.store import Store, bootstrap, keys
from app.store.outputs import ARRAY
from tests.unit.jobs.test_variants import CPU, FAMILIES, TOKENS, WINDOW, Bench
from worker.jobs import outputs as job
from worker.progress import LocalProgress

LAYER = 1


class Log(LocalProgress):
    """Keeps what is written to the log, and how far the job said it was."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shares: list[float] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    def advance(
        self, fraction: float, *, block: int | None = None, blocks: int | None = None, tokens: int = 0
    ) -> None:
        self.shares.append(fraction)


def stored(bench: Bench, layer: int = LAYER, names: Sequence[str] = ()) -> Log:
    told = Log()
    for name in names or bench.names:
        job.store_outputs(bench.run, layer, name, bench.settings, bench.store, CPU, told)
    return told


def matrix(bench: Bench, name: str, layer: int = LAYER) -> np.ndarray[Any, Any]:
    manifest = bench.store.outputs.require(bench.run, layer, name)
    rows = [bench.store.outputs.row(bench.run, layer, name, index) for index in range(manifest.neurons)]
    return np.stack(rows)


@pytest.fixture(scope="module", params=FAMILIES)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(request.param, tmp_path_factory.mktemp(request.param))
    told = stored(made)
    assert told.shares[-1] == 1.0
    return made


@pytest.fixture
def llama(tmp_path: Path) -> Bench:
    return Bench("llama", tmp_path)


def own_outputs(bench: Bench) -> dict[str, np.ndarray[Any, Any]]:
    """(neurons, tokens) of each projection of a block, from hooks in transformers' own model."""
    assert bench.settings.model_root is not None
    model = AutoModel.from_pretrained(bench.settings.model_root / "tiny", dtype=torch.float64).eval()
    seen: dict[str, list[torch.Tensor]] = {}
    for name, module in model.named_modules():
        for projection in bench.store.record(bench.run).model.projections:
            if f".{name}".endswith(f".{LAYER}.{projection.module}"):
                key = projection.module
                module.register_forward_hook(
                    lambda _, __, out, key=key: seen.setdefault(key, []).append(
                        out.reshape(-1, out.shape[-1])
                    )
                )
                break
    ids = torch.from_numpy(bench.store.tokens(bench.run)["token"].to_numpy().copy()).long()
    with torch.no_grad():
        for start in range(0, TOKENS, WINDOW):
            model(ids[None, start : start + WINDOW])
    found = {}
    for projection in bench.store.record(bench.run).model.projections:
        rows = slice(projection.first_row, projection.first_row + projection.out_features)
        found[projection.name] = torch.cat(seen[projection.module])[:, rows].T.numpy()
    return found


def test_outputs_are_those_of_the_model_itself(bench: Bench) -> None:
    for name, wanted in own_outputs(bench).items():
        np.testing.assert_allclose(matrix(bench, name), wanted, rtol=1e-4, atol=1e-5, err_msg=name)


def test_outputs_are_those_that_the_run_has_scored(bench: Bench) -> None:
    """Bit for bit: every token is in the bin of the histogram that a range of it shows."""
    for name in bench.names:
        outputs = matrix(bench, name)
        for index in (0, 5, 31):
            neuron = bench.store.neuron(bench.run, LAYER, name, index)
            spread, row = neuron.distribution, outputs[index]
            assert (row.min(), row.max()) == (np.float32(spread.low), np.float32(spread.high))
            for example in (*neuron.tokens.high, *neuron.tokens.low, *neuron.tokens.random):
                assert row[example.position] == np.float32(example.value)
            counts, _ = np.histogram(row.astype(float), bins=256, range=(spread.low, spread.high))
            assert np.abs(counts - spread.counts).sum() <= 2  # a value on an edge may fall to either side


def test_md_over_the_stored_pairs_is_the_runs(bench: Bench) -> None:
    for name in bench.names:
        for index in (0, 5, 31):
            found = bench.store.neuron_pairs(bench.run, LAYER, name, index, 10, 3, None)
            known = bench.store.neuron(bench.run, LAYER, name, index)
            assert found.md == pytest.approx(known.md, rel=1e-5)
            assert found.pairs + found.left_out == known.provenance.pairs
            assert [pair.difficulty for pair in found.hardest] == sorted(
                (pair.difficulty for pair in found.hardest), reverse=True
            )


def test_wd_of_every_window_once_is_the_runs(bench: Bench) -> None:
    window = bench.store.tokens(bench.run)["window"].to_numpy()
    once = np.ones((1, TOKENS // WINDOW), dtype=np.int64)
    for name in bench.names:
        outputs = matrix(bench, name)
        for index in (0, 5, 31):
            [wd] = bootstrap.resampled_wd(outputs[index], window, once)
            known = bench.store.neuron(bench.run, LAYER, name, index).wd
            assert wd == pytest.approx(known, abs=1e-5)
            found = bench.store.wd_interval(bench.run, LAYER, name, index, 0.9, 100)
            assert found.wd == known
            assert found.low is not None
            assert found.high is not None
            assert found.low < known < found.high
            assert (found.windows, found.resamples, found.confidence) == (TOKENS // WINDOW, 100, 0.9)


def test_before_they_are_stored_a_reader_is_told_how(llama: Bench) -> None:
    with pytest.raises(Conflict) as refused:
        llama.store.neuron_tokens(llama.run, LAYER, "up_proj", 0, OutputsQuery())
    assert f"POST /api/v1/runs/{llama.run}/layers/{LAYER}/up_proj/outputs" in refused.value.hint
    assert not llama.store.outputs.state(llama.run, LAYER, "up_proj").stored


def test_stored_once_they_are_not_computed_again_unless_damaged(llama: Bench) -> None:
    first = stored(llama, names=["up_proj"])
    assert "within 0 standard deviations" in first.lines[0]
    manifest = llama.store.outputs.require(llama.run, LAYER, "up_proj")
    assert "stored already" in stored(llama, names=["up_proj"]).lines[0]
    assert llama.store.outputs.require(llama.run, LAYER, "up_proj") == manifest

    whole = matrix(llama, "up_proj")
    key = keys.outputs(llama.run, LAYER, "up_proj", f"{ARRAY}/c/0/0")
    data = bytearray(llama.store.files.read(key) or b"")
    data[100] ^= 1
    llama.store.files.write(key, data)
    again = stored(llama, names=["up_proj"])
    assert "stored again" in again.lines[0]
    np.testing.assert_array_equal(matrix(llama, "up_proj"), whole)


def test_many_files_hold_what_one_holds(llama: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(llama)
    whole = {name: matrix(llama, name) for name in llama.names}
    monkeypatch.setattr(job, "SHARD_BYTES", 1)  # 32 neurons a file
    for name in llama.names:
        llama.store.outputs.delete(llama.run, LAYER, name)
    stored(llama)
    manifest = llama.store.outputs.require(llama.run, LAYER, "up_proj")
    assert len([name for name in manifest.files if "/c/" in name]) == 2
    for name in llama.names:
        np.testing.assert_array_equal(matrix(llama, name), whole[name])


def test_a_writer_that_was_killed_leaves_nothing_that_is_read(llama: Bench) -> None:
    class Killed(Exception):
        pass

    class Dying(Log):
        def advance(self, fraction: float, **_: Any) -> None:
            if fraction == 1.0:
                raise Killed

    with pytest.raises(Killed):
        job.store_outputs(llama.run, LAYER, "up_proj", llama.settings, llama.store, CPU, Dying())
    assert llama.store.outputs.manifest(llama.run, LAYER, "up_proj") is None
    stored(llama, names=["up_proj"])
    assert Store(llama.settings.store).outputs.verify(llama.run, LAYER, "up_proj") == []


def test_inputs_that_are_gone_and_layers_that_are_not(llama: Bench) -> None:
    with pytest.raises(NotFound, match="block 1 no_proj"):
        stored(llama, names=["no_proj"])
    llama.store.files.delete(keys.block(llama.run, LAYER, "inputs.safetensors"))
    with pytest.raises(CorruptStore, match="deleted or altered"):
        stored(llama, names=["up_proj"])
