"""Prune, expand and evaluate on tiny random models, against slow truths written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from app import catalog
from app.errors import Conflict, CorpusError, CorruptStore, ModelError, NumericsError
from app.schemas.evaluation import EvaluationRequest
from app.schemas.expansion import ExpansionSettings
from app.schemas.pruning import NeuronChoice, PruningSettings
from app.schemas.run import RunModel, RunRequest
from app.settings import Settings
from app.store import Store, keys
from tests.unit.tiny import save_tiny
from worker.corpora import end_windows
from worker.jobs import weights_file
from worker.jobs.evaluate import evaluate_run
from worker.jobs.explore import explore_run
from worker.jobs.export import export_run
from worker.jobs.session import Session
from worker.jobs.stream import Stream
from worker.jobs.variant_jobs import change_run
from worker.models import load_expanded
from worker.models.block import Block
from worker.models.changes import Experts
from worker.progress import LocalProgress, Progress

CPU, TOKENS, WINDOW = torch.device("cpu"), 512, 64
FAMILIES = ("llama", "gpt_neox", "bert", "phi3", "gpt2")


class Bench:
    """A finished run of a tiny model in a store of its own."""

    def __init__(self, family: str, folder: Path) -> None:
        save_tiny(family, folder / "tiny")
        self.settings = Settings(
            store=str(folder / "store"), model_root=folder, cache=folder / "cache", device="cpu"
        )
        self.store = Store(self.settings.store)
        request = RunRequest(model="path:tiny", tokens=TOKENS, window=WINDOW)
        found = catalog.inspect_model(catalog.resolve(request.model, self.settings))
        model = RunModel(**found.model_dump(include=set(RunModel.model_fields)))
        _, text = catalog.corpus_text(request.corpus, self.settings, self.store.read_text)
        self.run = self.store.create_run(request, model, "docs", catalog.corpus_fingerprint(text))
        explore_run(self.run, self.settings, self.store, CPU, LocalProgress())
        self.names = [projection.name for projection in model.projections]

    def change(
        self, settings: PruningSettings | ExpansionSettings, todo: dict[int, list[str]] | None = None
    ) -> str:
        variant = self.store.variants.create(self.run, settings)
        change_run(self.run, variant, todo, self.settings, self.store, CPU, LocalProgress())
        return variant

    def changes(self, variant: str, layer: int) -> dict[str, torch.Tensor | Experts]:
        return weights_file.changes(self.store, self.run, variant, layer, CPU)

    def session(self) -> Session:
        return Session.open(self.run, self.settings, self.store, CPU, LocalProgress())

    def evaluate(self, *variants: str, **values: object) -> dict[str | None, float]:
        request = EvaluationRequest(**{"variants": list(variants), "tokens": 256, "window": WINDOW, **values})
        evaluation = self.store.evaluations.create(self.run, request)
        evaluate_run(self.run, evaluation, self.settings, self.store, CPU, LocalProgress())
        found = self.store.evaluations.get(self.run, evaluation)
        assert found.finished
        assert found.tokens == 256 - 256 // WINDOW
        return {result.variant: result.perplexity for result in found.results}


@pytest.fixture(scope="module", params=FAMILIES)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench("llama", tmp_path_factory.mktemp("llama"))


def test_every_layer_of_every_family_is_pruned_to_the_weight(bench: Bench) -> None:
    variant = bench.change(PruningSettings(sparsity=0.7))
    found = bench.store.variants.pruning(bench.run, variant)
    assert found.complete
    for result in found.layers:
        weight = bench.changes(variant, result.layer)[result.projection]
        assert isinstance(weight, torch.Tensor)
        assert int((weight == 0).sum()) == result.zeros
        assert abs(result.zeros - 0.7 * result.weights) <= 1
        assert result.relative_error is not None
        assert 0 < result.relative_error < 1
    assert found.ffn_sparsity == pytest.approx(0.7, abs=1e-3)


def test_comparisons_are_those_of_the_outputs(bench: Bench) -> None:
    """RMSE, W1 and counts of one layer's neurons, from the outputs of the model's own module."""
    pruning, expansion = (
        bench.change(PruningSettings(sparsity=0.8)),
        bench.change(ExpansionSettings(sparsity=0.8, experts=4)),
    )
    session, layer = bench.session(), 1
    stream = session.dense_inputs(layer)
    with session.model.block(layer) as block:
        seen: dict[str, list[torch.Tensor]] = {}
        for hidden, batch in zip(stream.hidden, stream.batches, strict=True):
            with block.capture() as captured:
                block.forward(hidden, batch)
            for module, inputs in captured.items():
                seen.setdefault(module, []).append(inputs.reshape(-1, inputs.shape[-1]))
        for linear in block.projections():
            name, inputs = linear.projection.name, torch.cat(seen[linear.projection.module]).double()
            bias = 0 if linear.bias is None else linear.bias.double()
            dense = inputs @ linear.weight.double().T + bias
            pruned = inputs @ bench.changes(pruning, layer)[name].double().T + bias  # type: ignore[union-attr]
            experts = bench.changes(expansion, layer)[name]
            assert isinstance(experts, Experts)
            labels = bench.store.effects.labels(bench.run, expansion, layer, name)
            assert labels.tolist() == experts.router.assign(inputs.float()).tolist()
            expanded = (
                torch.stack(
                    [
                        experts.weights[int(label)].double() @ x
                        for x, label in zip(inputs, labels, strict=True)
                    ]
                )
                + bias
            )
            for index in (0, 7, 31):
                shown = bench.store.distributions(bench.run, layer, name, index, pruning, expansion)
                for made, outputs in ((shown.pruning, pruned), (shown.expansion, expanded)):
                    assert made is not None
                    error = (outputs[:, index] - dense[:, index]).square().mean().sqrt()
                    assert made.rmse == pytest.approx(float(error), rel=1e-3)
                    apart = (outputs[:, index].sort().values - dense[:, index].sort().values).abs().mean()
                    assert made.w1 == pytest.approx(float(apart), rel=1e-3, abs=1e-7)
                    edges = shown.low + shown.width * np.arange(1, 192)
                    counts = np.bincount(np.searchsorted(edges, outputs[:, index].numpy()), minlength=192)
                    assert np.abs(counts - np.array(made.counts)).sum() <= 4  # on an edge, float32 may differ
                assert shown.expansion is not None
                assert (
                    np.sum([e.counts for e in shown.expansion.experts], axis=0).tolist()
                    == shown.expansion.counts
                )
                assert shown.pruning is not None
                assert shown.ri == pytest.approx(shown.pruning.rmse / shown.expansion.rmse)


def test_sparsity_zero_changes_nothing(bench: Bench) -> None:
    for settings in (PruningSettings(sparsity=0), ExpansionSettings(sparsity=0, experts=3)):
        variant = bench.change(settings, {0: bench.names})
        assert [r.relative_error for r in bench.store.variants.results(bench.run, variant)] == pytest.approx(
            [0.0] * len(bench.names), abs=1e-10
        )


def test_experts_come_closer_than_one_layer(bench: Bench) -> None:
    one = bench.change(PruningSettings(sparsity=0.9), {1: bench.names})
    many = bench.change(ExpansionSettings(sparsity=0.9, experts=8), {1: bench.names})
    errors = [[r.relative_error for r in bench.store.variants.results(bench.run, v)] for v in (one, many)]
    assert all(a is not None and b is not None and b < a for a, b in zip(*errors, strict=True))


def test_propagated_runs_feed_on_the_changed_blocks(bench: Bench) -> None:
    variant = bench.change(PruningSettings(sparsity=0.6, propagate=True))
    assert bench.store.variants.pruning(bench.run, variant).complete
    session = bench.session()
    stream = session.fresh()
    for layer in range(session.blocks):
        with session.model.block(layer) as block:
            if layer == 1:
                # block 1's weights are those made from what the pruned block 0 puts out
                again = _made_from(bench, session, block, stream)
                for name, weight in again.items():
                    assert torch.equal(weight, bench.changes(variant, 1)[name])  # type: ignore[arg-type]
            with block.changed(bench.changes(variant, layer)):
                stream.advance(block, LocalProgress())


def _made_from(bench: Bench, session: Session, block: object, stream: object) -> dict[str, torch.Tensor]:
    from worker.jobs.layer_inputs import collect
    from worker.jobs.makers import PruningMaker

    maker = PruningMaker(PruningSettings(sparsity=0.6, propagate=True), bench.run, bench.store)
    made = {}
    for group in collect(block, stream, LocalProgress()):  # type: ignore[arg-type]
        for one in maker.make(1, group, group.names, lambda share: None):
            made[one.linear.projection.name] = one.change
    return made  # type: ignore[return-value]


@pytest.mark.parametrize(
    "settings", [PruningSettings(sparsity=0.5, propagate=True), ExpansionSettings(experts=3, propagate=True)]
)
def test_a_propagated_run_goes_on_where_it_stopped(
    llama: Bench, settings: PruningSettings | ExpansionSettings
) -> None:
    variant = llama.change(settings)
    before = {
        (r.layer, r.projection): llama.store.variants.read(
            llama.run, variant, r.layer, r.projection, "weights.safetensors"
        )
        for r in llama.store.variants.results(llama.run, variant)
    }
    for name in llama.names[1:]:  # as if the job had died while it wrote block 1
        llama.store.variants.drop_layer(llama.run, variant, 1, name)
    for name in llama.names:
        llama.store.variants.drop_layer(llama.run, variant, 2, name)
    llama.change(settings)
    for (layer, name), data in before.items():
        assert llama.store.variants.read(llama.run, variant, layer, name, "weights.safetensors") == data


def test_layers_already_done_are_not_made_again(llama: Bench) -> None:
    variant = llama.change(PruningSettings(sparsity=0.31), {0: ["up_proj"]})
    key = keys.variant_layer(llama.run, variant, 0, "up_proj", "manifest.json")
    before = llama.store.files.read(key)
    llama.change(PruningSettings(sparsity=0.31), {0: ["gate_proj", "up_proj"]})
    assert llama.store.files.read(key) == before
    assert llama.store.variants.done(llama.run, variant) == {(0, "gate_proj"), (0, "up_proj")}


def test_one_projection_of_a_group_is_expanded_as_with_the_others(llama: Bench) -> None:
    together = llama.change(ExpansionSettings(experts=3, sparsity=0.45), {0: ["gate_proj", "up_proj"]})
    alone = llama.change(ExpansionSettings(experts=3, sparsity=0.45, compare=False), {0: ["up_proj"]})
    first, second = llama.changes(together, 0)["up_proj"], llama.changes(alone, 0)["up_proj"]
    assert isinstance(first, Experts)
    assert isinstance(second, Experts)
    for expert in range(3):
        assert torch.equal(first.weights[expert], second.weights[expert])


@pytest.mark.parametrize("keep", [False, True])
def test_only_chosen_neurons_are_pruned(llama: Bench, keep: bool) -> None:
    choice = NeuronChoice(by="wd", share=0.25, keep=keep)
    variant = llama.change(PruningSettings(sparsity=0.5, neurons=choice), {1: ["up_proj"]})
    weight = llama.changes(variant, 1)["up_proj"]
    assert isinstance(weight, torch.Tensor)
    wd = llama.store.scores(llama.run).columns(1, "up_proj", ["wd"])["wd"]
    top = sorted(np.argsort([-(v or 0) for v in wd])[: len(wd) // 4])
    touched = np.flatnonzero((weight == 0).any(dim=1).numpy()).tolist()
    assert touched == (sorted(set(range(len(wd))) - set(top)) if keep else top)
    [result] = llama.store.variants.results(llama.run, variant)
    assert result.sets == {"pruned": pytest.approx(0.5, abs=1e-3), "others": 0.0}


def test_patterns_bits_and_baselines(llama: Bench) -> None:
    for settings in (
        PruningSettings(pattern="2:4", bits=4),
        PruningSettings(pattern="2:4", method="wanda"),
        PruningSettings(pattern="2:4", method="magnitude"),
        ExpansionSettings(pattern="2:4", experts=2),
        ExpansionSettings(sparsity=0.5, experts=2, clusters="random"),
    ):
        variant = llama.change(settings, {0: llama.names})
        for result in llama.store.variants.results(llama.run, variant):
            change = llama.changes(variant, 0)[result.projection]
            weights = change.weights if isinstance(change, Experts) else change
            assert isinstance(weights, torch.Tensor)
            if settings.pattern:
                assert int(((weights.reshape(-1, 4) == 0).sum(dim=1) < 2).sum()) == 0
            assert result.sparsity >= 0.5 - 1e-3


def test_perplexity_is_that_of_the_changed_model(llama: Bench) -> None:
    pruning = llama.change(PruningSettings(sparsity=0.5))
    untouched = llama.change(PruningSettings(sparsity=0))
    found = llama.evaluate(pruning, untouched)
    assert found[untouched] == found[None]
    model = _whole(llama)
    dense = _perplexity(llama, model)
    assert found[None] == pytest.approx(dense, rel=1e-5)
    for layer in range(3):
        for name, weight in llama.changes(pruning, layer).items():
            assert isinstance(weight, torch.Tensor)
            getattr(model.model.layers[layer].mlp, name).weight.data.copy_(weight)
    assert found[pruning] == pytest.approx(_perplexity(llama, model), rel=1e-5)


def test_a_variant_is_the_dense_model_up_to_its_first_changed_block(
    llama: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = llama.change(PruningSettings(sparsity=0.55), {2: llama.names})
    nothing = llama.store.variants.create(llama.run, PruningSettings(sparsity=0.65))
    passed: list[int] = []
    advance = Stream.advance

    def count(stream: Stream, block: Block, progress: Progress) -> None:
        passed.append(block.layer)
        advance(stream, block, progress)

    monkeypatch.setattr(Stream, "advance", count)
    found = llama.evaluate(late, nothing)
    assert passed == [0, 1, 2, 2]
    assert found[nothing] == found[None] != found[late]
    model = _whole(llama)
    for name, weight in llama.changes(late, 2).items():
        getattr(model.model.layers[2].mlp, name).weight.data.copy_(weight)
    assert found[late] == pytest.approx(_perplexity(llama, model), rel=1e-5)


def _whole(bench: Bench):  # type: ignore[no-untyped-def]
    return AutoModelForCausalLM.from_pretrained(bench.settings.model_root / "tiny").eval()  # type: ignore[operator]


def _perplexity(bench: Bench, model) -> float:  # type: ignore[no-untyped-def]
    tokenizer = AutoTokenizer.from_pretrained(bench.settings.model_root / "tiny")  # type: ignore[operator]
    _, text = catalog.corpus_text("python-docs", bench.settings, bench.store.read_text)
    ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"][-256:]).reshape(-1, WINDOW)
    with torch.no_grad():
        return float(model(ids, labels=ids).loss.exp())


def test_an_exported_pruning_opens_without_our_code(llama: Bench) -> None:
    pruning = llama.change(PruningSettings(sparsity=0.5))
    folder = export_run(llama.run, pruning, llama.settings, llama.store, LocalProgress())
    assert llama.store.variants.pruning(llama.run, pruning).export == str(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert _perplexity(llama, model) == pytest.approx(llama.evaluate(pruning)[pruning], rel=1e-5)
    assert "SparseGPT 50 %" in (folder / "README.md").read_text()
    export_run(llama.run, pruning, llama.settings, llama.store, LocalProgress())  # again: it is replaced


def test_an_exported_expansion_runs_its_experts(llama: Bench) -> None:
    expansion = llama.change(ExpansionSettings(sparsity=0.5, experts=3))
    folder = export_run(llama.run, expansion, llama.settings, llama.store, LocalProgress())
    model = load_expanded(folder)
    assert _perplexity(llama, model) == pytest.approx(llama.evaluate(expansion)[expansion], rel=1e-5)


def test_nothing_is_exported_of_a_variant_without_layers(llama: Bench) -> None:
    empty = llama.store.variants.create(llama.run, PruningSettings(sparsity=0.123))
    with pytest.raises(Conflict, match="no layer yet"):
        export_run(llama.run, empty, llama.settings, llama.store, LocalProgress())


def test_held_out_text_is_never_the_calibration_text(llama: Bench) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama.settings.model_root / "tiny")  # type: ignore[operator]
    _, text = catalog.corpus_text("python-docs", llama.settings, llama.store.read_text)
    left = len(tokenizer(text, add_special_tokens=False)["input_ids"]) - TOKENS
    assert len(end_windows(text, tokenizer, left, WINDOW, after=TOKENS).ids) == left
    with pytest.raises(CorpusError, match=f"{left + 1:,} were asked for from its end"):
        llama.evaluate(tokens=left + 1)


def test_an_encoder_has_no_perplexity(bench: Bench) -> None:
    if bench.store.record(bench.run).model.family != "bert":
        assert bench.evaluate()[None] > 1
        return
    with pytest.raises(ModelError, match="perplexity"):
        bench.evaluate()


def test_deleted_inputs_are_named(tmp_path: Path) -> None:
    bench = Bench("llama", tmp_path)
    bench.store.files.delete(keys.block(bench.run, 1, "inputs.safetensors"))
    with pytest.raises(CorruptStore, match=r"stored inputs of block 1 .* were deleted"):
        bench.change(PruningSettings(), {1: ["up_proj"]})


def test_inputs_with_nan_are_named(tmp_path: Path) -> None:
    bench = Bench("llama", tmp_path)
    session = bench.session()
    stream = session.dense_inputs(1)
    stream.hidden[0][0, 0, 0] = torch.nan
    from worker.jobs.tensors import file_parts

    key = keys.block(bench.run, 1, "inputs.safetensors")
    stamp = bench.store.files.write(key, file_parts(stream.hidden))
    manifest = bench.store.block_manifest(bench.run, 1)
    assert manifest is not None
    manifest.files["inputs.safetensors"].sha256 = stamp.sha256
    with pytest.raises(NumericsError, match="NaN"):
        bench.change(PruningSettings(), {1: ["up_proj"]})


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    bench = Bench("llama", tmp_path)
    variant = bench.store.variants.create(bench.run, PruningSettings())
    bench.store.files.delete(keys.run(bench.run, "manifest.json"))
    bench.store.forget(bench.run)
    with pytest.raises(Conflict, match="not finished"):
        change_run(bench.run, variant, None, bench.settings, bench.store, CPU, LocalProgress())
