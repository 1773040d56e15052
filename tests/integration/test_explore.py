"""The explore job on a tiny random Llama: results, repeatability, resuming."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
import torch
from transformers import AutoModelForCausalLM

from app.errors import ModelError
from app.schemas.job import JobState
from app.schemas.layer import Metric
from app.schemas.neuron import NeuronQuery
from app.schemas.run import RunRequest, RunState
from app.store import Store
from tests.integration.conftest import Stage, wait_for
from tests.unit.tiny import save_tiny
from worker import device as devices
from worker.jobs.explore import explore_run
from worker.progress import LocalProgress

EVERYTHING = NeuronQuery(sort="rank_model", limit=1_000_000)
REQUEST = RunRequest(model="path:tiny", tokens=600, window=64, pairs=200)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A tiny Llama below the stage's model root."""
    save_tiny("llama", tmp_path / "tiny")
    return tmp_path / "tiny"


def compute(stage: Stage, request: RunRequest = REQUEST, **settings: Any) -> tuple[Store, str]:
    """Explore in this very process, into a store of its own."""
    number = len(list(stage.folder.glob("store*")))
    changed = stage.settings.model_copy(update={"store": str(stage.folder / f"store{number}"), **settings})
    store = Store(changed.store)
    run = stage.make_run(request, store)
    explore_run(run, changed, store, devices.prepare(changed), LocalProgress())
    return store, run


def scores(store: Store, run: str) -> pa.Table:
    return store.neurons_table(run, EVERYTHING)


def files(store: Store, run: str) -> dict[str, tuple[int, int]]:
    """Inode and time of writing of every file of the run."""
    root = Path(store.files.path(f"runs/{run}"))
    return {
        str(p.relative_to(root)): (p.stat().st_ino, p.stat().st_mtime_ns)
        for p in root.rglob("*")
        if p.is_file()
    }


def digests(store: Store, run: str) -> dict[str, str]:
    """Checksums of everything computed, by name."""
    found = {}
    for layer in store.blocks_done(run):
        manifest = json.loads(
            (store.files.read(f"runs/{run}/blocks/{layer:04d}/manifest.json") or b"").decode()
        )
        found |= {f"{layer}/{name}": stamp["sha256"] for name, stamp in manifest["files"].items()}
    return found


def test_a_run_from_submit_to_neuron(stage: Stage, tiny: Path) -> None:
    stage.worker()
    run, job = stage.submit(REQUEST)
    ended = stage.ended(job)
    assert (ended.state, ended.problem, ended.tries, ended.device) == (JobState.finished, None, 1, "cpu")
    found = stage.store.run(run)
    model = found.model
    assert (found.state, found.blocks_done, found.tokens, found.pairs) == (
        RunState.finished,
        model.blocks,
        600,
        200,
    )
    assert found.neurons == model.blocks * sum(p.out_features for p in model.projections)
    assert found.peak_bytes is not None
    assert found.peak_bytes > 50 << 20
    assert {"torch", "transformers", "wasserscope"} <= set(found.versions)
    assert stage.store.verify(run) == []
    layers = stage.store.layers(run)
    assert [(s.layer, s.projection) for s in layers] == [
        (block, p.name) for block in range(model.blocks) for p in model.projections
    ]
    detail = stage.store.neuron(run, 1, "up_proj", 3)
    assert sum(detail.distribution.counts) == 600
    assert detail.tokens.high[0].value == pytest.approx(detail.distribution.high)
    text = "".join(stage.store.tokens(run)["piece"].to_pylist())
    assert detail.tokens.high[0].token in text
    log = stage.queue.log(job).lines
    assert "peak memory" in log[-1]


def test_scores_are_those_of_the_model_itself(stage: Stage, tiny: Path) -> None:
    """Against transformers' own forward with a hook, NumPy and SciPy."""
    store, run = compute(stage)
    model = AutoModelForCausalLM.from_pretrained(tiny).eval()
    tokens = torch.tensor(store.tokens(run)["token"].to_pylist())
    for name in ("gate_proj", "down_proj"):
        seen: list[torch.Tensor] = []
        module = model.get_submodule(f"model.layers.1.mlp.{name}")
        hook = module.register_forward_hook(lambda module, args, output, seen=seen: seen.append(output[0]))
        with torch.no_grad():
            for window in tokens.split(REQUEST.window):
                model(window[None])
        hook.remove()
        outputs = torch.cat(seen).double().numpy()
        values = store.layer_values(run, 1, name, [metric for metric in Metric if not metric.needs]).metrics
        assert values["mean"] == pytest.approx(outputs.mean(0).tolist(), abs=1e-5)
        assert values["std"] == pytest.approx(outputs.std(0).tolist(), rel=1e-4)
        assert values["kurtosis"] == pytest.approx(scipy.stats.kurtosis(outputs).tolist(), abs=1e-2)
        grid = scipy.stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
        standard = (outputs - outputs.mean(0)) / outputs.std(0)
        for index in (0, 5):
            truth = scipy.stats.wasserstein_distance(standard[:, index], grid)
            assert values["wd"][index] == pytest.approx(truth, abs=1e-4)
            best = store.neuron(run, 1, name, index).tokens.high[0]
            assert best.position == int(outputs[:, index].argmax())


def test_the_same_request_twice_computes_nothing_again(stage: Stage, tiny: Path) -> None:
    stage.worker()
    run, job = stage.submit(REQUEST)
    stage.ended(job)
    before = files(stage.store, run)
    again, job = stage.submit(REQUEST)
    assert again == run
    assert stage.ended(job).state is JobState.finished
    assert files(stage.store, run) == before
    assert "finished already" in stage.queue.log(job).lines[-1]


def test_two_stores_get_the_same_bits(stage: Stage, tiny: Path) -> None:
    one, two = compute(stage), compute(stage)
    assert one[1] == two[1]
    assert scores(*one).equals(scores(*two))
    assert digests(*one) == digests(*two)


@pytest.mark.parametrize("batch_tokens", [1, 150, 4096])
def test_batches_and_chunks_change_nothing(stage: Stage, tiny: Path, batch_tokens: int) -> None:
    whole = scores(*compute(stage))
    other = scores(*compute(stage, batch_tokens=batch_tokens, chunk_mebibytes=1))
    keys = [("layer", "ascending"), ("projection", "ascending"), ("index", "ascending")]
    whole, other = whole.sort_by(keys), other.sort_by(keys)
    for metric in [metric for metric in Metric if not metric.needs]:
        got, want = (t[metric.value].to_numpy() for t in (other, whole))
        assert got == pytest.approx(want, abs=1e-6, rel=1e-6), metric


def test_a_killed_run_goes_on_where_it_stopped(stage: Stage) -> None:
    # So many blocks that the kill after the first one falls in mid-run, also on a fast machine.
    save_tiny("llama", stage.folder / "deep", blocks=48)
    request = REQUEST.model_copy(update={"model": "path:deep", "tokens": 6000})
    stage.change(max_tries=1)
    worker = stage.worker()
    run, job = stage.submit(request)
    wait_for(lambda: stage.store.blocks_done(run), 60, "the first block")
    os.kill(worker.horse().pid, signal.SIGKILL)
    ended = stage.ended(job)
    assert ended.state is JobState.failed
    assert ended.problem is not None
    assert ended.problem.code == "worker-lost"
    assert stage.store.run(run).state is RunState.incomplete
    done = stage.store.blocks_done(run)
    assert 0 < len(done) < stage.store.run(run).model.blocks
    before = {name: stat for name, stat in files(stage.store, run).items() if name.startswith("blocks/0000")}
    again, job = stage.submit(request)
    assert again == run
    assert stage.ended(job).state is JobState.finished
    after = files(stage.store, run)
    assert {name: after[name] for name in before} == before
    assert any("are finished already" in line for line in stage.queue.log(job).lines)
    whole = compute(stage, request)
    assert scores(stage.store, run).equals(scores(*whole))
    assert digests(stage.store, run) == digests(*whole)


def test_a_damaged_block_is_computed_again(
    stage: Stage, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    store, run = compute(stage)
    want = digests(store, run)
    root = Path(store.files.path(f"runs/{run}"))
    (root / "manifest.json").unlink()
    path = root / "blocks/0001/scores.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    before = files(store, run)
    fresh = Store(store.files.url)
    explore_run(run, stage.settings, fresh, devices.prepare(stage.settings), LocalProgress())
    after = files(fresh, run)
    changed = {
        name.split("/")[1] for name in before if name.startswith("blocks") and before[name] != after[name]
    }
    assert changed == {"0001"}
    assert "0001/scores.parquet missing or altered" in caplog.text
    assert fresh.verify(run) == []
    assert digests(fresh, run) == want


def test_a_model_that_changed_is_refused(stage: Stage, tiny: Path) -> None:
    run = stage.make_run(REQUEST, stage.store)
    save_tiny("gpt2", tiny)
    with pytest.raises(ModelError, match="not those the run was made for"):
        explore_run(run, stage.settings, stage.store, devices.prepare(stage.settings), LocalProgress())
    assert stage.store.run(run).state is RunState.incomplete
