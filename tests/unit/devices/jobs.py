"""Every job on a second device and on the CPU: what they store has to be the same. Started by `test_second_device`.

The device is that of `second_device`; its kind is in the variable SECOND_DEVICE, its name has no index, as in settings.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from app import catalog
from app.schemas.evaluation import EvaluationRequest
from app.schemas.expansion import ExpansionSettings
from app.schemas.pruning import NeuronChoice, PruningSettings
from app.schemas.run import RunModel, RunRequest
from app.settings import Settings
from app.store import Store
from app.store.arrays import open_local
from tests.unit.devices.second_device import Elsewhere, second_device
from tests.unit.tiny import save_tiny
from worker.jobs.evaluate import evaluate_run
from worker.jobs.explore import explore_run
from worker.jobs.export import export_run
from worker.jobs.outputs import store_outputs
from worker.jobs.variant_jobs import change_run
from worker.models import load_expanded
from worker.models.tensorfile import TensorReader
from worker.progress import LocalProgress

KIND = os.environ["SECOND_DEVICE"]
FAMILIES = ("llama", "gpt_neox", "phi3", "gpt2", "bert")
"""Gated; plain with biases; fused; weights the other way round (Conv1D); an encoder."""
TOKENS, WINDOW = 176, 64  # the last window is shorter: a batch of its own
TIMES = ("manifest.json", "record.json", "facts.json", "request.json", "zarr.json")
"""Files with times and names; what they say of results is in the others too."""

VARIANTS: dict[str, PruningSettings | ExpansionSettings] = {
    "sparsegpt": PruningSettings(sparsity=0.6),
    "2:4 in 4 bits": PruningSettings(pattern="2:4", bits=4),
    "per row": PruningSettings(sparsity=0.5, per_row=True),
    "wanda": PruningSettings(sparsity=0.5, method="wanda"),
    "magnitude": PruningSettings(sparsity=0.5, method="magnitude"),
    "nothing": PruningSettings(sparsity=0.0),
    "chosen neurons": PruningSettings(sparsity=0.5, neurons=NeuronChoice(by="wd", share=0.25)),
    "all but random neurons": PruningSettings(
        sparsity=0.5, neurons=NeuronChoice(by="random", share=0.25, keep=True)
    ),
    "k-means": ExpansionSettings(sparsity=0.6, experts=3),
    "random clusters": ExpansionSettings(sparsity=0.6, experts=3, clusters="random"),
    "experts 2:4": ExpansionSettings(pattern="2:4", experts=2),
}
PROPAGATED: dict[str, PruningSettings | ExpansionSettings] = {
    "pruned": PruningSettings(sparsity=0.5, propagate=True),
    "expanded": ExpansionSettings(experts=3, propagate=True),
    "expanded at random": ExpansionSettings(experts=3, clusters="random", propagate=True),
}


class Bench:
    """A store whose jobs run on one device."""

    def __init__(self, root: Path, device: torch.device) -> None:
        self.device, self.folder = device, root / device.type
        self.settings = Settings(
            store=str(self.folder),
            model_root=root,
            cache=root / "cache",
            device=device.type,
            batch_tokens=128,
        )
        self.store = Store(self.settings.store)
        request = RunRequest(model="path:tiny", tokens=TOKENS, window=WINDOW)
        found = catalog.inspect_model(catalog.resolve(request.model, self.settings))
        model = RunModel(**found.model_dump(include=set(RunModel.model_fields)))
        _, text = catalog.corpus_text(request.corpus, self.settings, self.store.read_text)
        self.run = self.store.create_run(request, model, "docs", catalog.corpus_fingerprint(text))
        self.names = [projection.name for projection in model.projections]

    @contextlib.contextmanager
    def here(self) -> Iterator[torch.device]:
        """Within, the bench's device is there."""
        with contextlib.ExitStack() as stack:
            if self.device.type != "cpu":
                stack.enter_context(second_device(self.device.type))
            yield self.device

    def explore(self) -> None:
        with self.here():
            explore_run(self.run, self.settings, self.store, self.device, LocalProgress())

    def change(
        self, settings: PruningSettings | ExpansionSettings, todo: dict[int, list[str]] | None = None
    ) -> str:
        variant = self.store.variants.create(self.run, settings)
        with self.here():
            change_run(self.run, variant, todo, self.settings, self.store, self.device, LocalProgress())
        return variant

    def store_outputs(self, layer: int) -> None:
        for name in self.names:
            with self.here():
                store_outputs(self.run, layer, name, self.settings, self.store, self.device, LocalProgress())

    def perplexities(self, *variants: str) -> list[float]:
        request = EvaluationRequest(variants=list(variants), tokens=150, window=WINDOW)
        evaluation = self.store.evaluations.create(self.run, request)
        with self.here():
            evaluate_run(self.run, evaluation, self.settings, self.store, self.device, LocalProgress())
        return [result.perplexity for result in self.store.evaluations.get(self.run, evaluation).results]

    def export(self, variant: str) -> Path:
        return export_run(self.run, variant, self.settings, self.store, LocalProgress())


Pair = tuple[Bench, Bench]
Pairs = Callable[[str], Pair]


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """The CPU's bench and the second device's of a family's tiny model, explored."""

    @functools.cache
    def made(family: str) -> Pair:
        root = tmp_path_factory.mktemp(family)
        save_tiny(family, root / "tiny", blocks=2)
        benches = Bench(root, torch.device("cpu")), Bench(root, torch.device(KIND))
        for bench in benches:
            bench.explore()
        return benches

    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_explore(pairs: Pairs, family: str) -> None:
    pair = pairs(family)
    assert_equal(pair, "blocks")
    assert [bench.store.facts(bench.run).device for bench in pair] == ["cpu", KIND]  # type: ignore[union-attr]


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs(pairs: Pairs, family: str) -> None:
    pair = pairs(family)
    for bench in pair:
        bench.store_outputs(1)
    assert_equal(pair, "outputs")


@pytest.mark.parametrize(
    ("family", "name"),
    [
        *(("llama", name) for name in VARIANTS),
        *((family, name) for family in FAMILIES[1:] for name in ("sparsegpt", "k-means")),
    ],
)
def test_change(pairs: Pairs, family: str, name: str) -> None:
    pair = pairs(family)
    for bench in pair:
        variant = bench.change(VARIANTS[name], {1: bench.names})
    assert_equal(pair, f"*/{variant}")


@pytest.mark.parametrize("name", PROPAGATED)
def test_propagate(pairs: Pairs, name: str) -> None:
    pair = pairs("llama")
    for bench in pair:
        variant = bench.change(PROPAGATED[name])
        bench.store.variants.drop_layer(bench.run, variant, 1, bench.names[0])
        bench.change(PROPAGATED[name])  # goes on where it stopped: through the stored change of block 0
    assert_equal(pair, f"*/{variant}")


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "bert"])
def test_evaluate(pairs: Pairs, family: str) -> None:
    names = ("sparsegpt", "k-means", "random clusters") if family == "llama" else ("sparsegpt", "k-means")
    found = []
    for bench in (pair := pairs(family)):
        found.append(bench.perplexities(*[bench.change(VARIANTS[name], {1: bench.names}) for name in names]))
    assert len(found[0]) == len(set(found[0])) == len(names) + 1
    assert found[1] == pytest.approx(found[0], rel=1e-6)
    assert pair[0].store.record(pair[0].run).model.family == family


@pytest.mark.parametrize(
    ("family", "name"), [("llama", "sparsegpt"), ("llama", "random clusters"), ("phi3", "k-means")]
)
def test_export(pairs: Pairs, family: str, name: str) -> None:
    pair = pairs(family)
    folders = [bench.export(bench.change(VARIANTS[name], {1: bench.names})) for bench in pair]
    for path in folders[0].glob("*.safetensors"):
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()
    if isinstance(VARIANTS[name], PruningSettings):
        return
    ids = torch.arange(2 * 20).reshape(2, 20)
    for dense in (False, True):
        with torch.no_grad():
            expected = load_expanded(folders[0], dense=dense)(ids)[0]
            with pair[1].here() as device:
                actual = load_expanded(folders[1], device, dense=dense)(ids.to(device))[0]
                assert isinstance(actual, Elsewhere)
                torch.testing.assert_close(actual.cpu(), expected, rtol=1e-5, atol=1e-5)


def assert_equal(pair: Pair, part: str) -> None:
    """Everything the two stores hold of a part of the run is the same, but for float32's rounding."""
    folders = [bench.folder / "runs" / bench.run for bench in pair]
    [root] = folders[0].glob(part)
    names = sorted(path.relative_to(folders[0]) for path in root.rglob("*") if path.is_file())
    assert names
    for name in names:
        if name.name in TIMES:
            continue
        one, other = (contents(folder / name) for folder in folders)
        assert one.keys() == other.keys(), name
        for key, values in one.items():
            where = f"{name}: {key}"
            if values.dtype.kind in "iubO":
                np.testing.assert_array_equal(other[key], values, err_msg=where)
            else:
                np.testing.assert_allclose(other[key], values, rtol=2e-5, atol=1e-6, err_msg=where)


def contents(path: Path) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Arrays of a file of the store."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    if path.suffix == ".safetensors":
        reader = TensorReader(path.read_bytes())
        return {name: reader.read(name).numpy() for name in reader.names()}
    folder = path.parents[len(path.parts) - path.parts.index("c", path.parts.index("arrays.zarr")) - 1]
    return {folder.name: open_local(folder)[...]}
