"""Prunings, expansions and evaluations in the store: what is written is what is read, and half of it is nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.errors import Conflict, CorruptStore, InvalidRequest, NotFound
from app.schemas.evaluation import EvaluationRequest, PerplexityResult
from app.schemas.expansion import ExpansionSettings
from app.schemas.layer import MapQuery, Metric
from app.schemas.neuron import NeuronQuery
from app.schemas.pruning import NeuronChoice, PruningRequest, PruningSettings
from app.schemas.variant import Cluster, Coverage, LayerResult
from app.store import Store, keys
from app.store.variants import LayerArtifacts

SPARSEGPT = PruningSettings(sparsity=0.9)
EXPERTS = ExpansionSettings(sparsity=0.9, experts=3)


def neurons_table(store: Store, run: str, layer: int, projection: str, scale: float) -> pa.Table:
    """Comparisons that can be told apart: RMSE is `scale` times the neuron's index."""
    count = next(p.out_features for p in store.record(run).model.projections if p.name == projection)
    index = np.arange(count)
    return pa.table(
        {
            "index": index,
            "wd": np.full(count, 0.25),
            "w1": 0.5 * scale * index,
            "rmse": scale * index,
            "zero_share": np.full(count, 0.9),
            "weighted_wd": np.full(count, 0.125),
            "weighted_md": np.full(count, 1.5),
            "low": np.zeros(count),
            "width": np.ones(count),
        }
    )


def write(store: Store, run: str, variant: str, layer: int, projection: str, scale: float = 1.0) -> int:
    """One layer of a variant; returns its neurons."""
    table = neurons_table(store, run, layer, projection, scale)
    count, tokens = table.num_rows, len(store.tokens(run))
    clusters = []
    extra = {}
    if variant.startswith("x"):
        clusters = [Cluster(expert=i, tokens=1, own_share=1, damping=0.01) for i in range(3)]
        extra = {
            "expert_counts": np.arange(count * 3 * 192, dtype=np.int32).reshape(count, 3, 192),
            "expert_wd": np.full((count, 3), 0.5, dtype=np.float32),
            "labels": np.arange(tokens) % 3,
        }
        extra["expert_wd"][:, 1] = np.nan
    result = LayerResult(
        layer=layer,
        projection=projection,
        weights=count * 10,
        zeros=count * 9,
        sparsity=0.9,
        relative_error=0.3,
        clusters=clusters,
        seconds=1.0,
    )
    counts = np.full((count, 192), 2, dtype=np.int32)
    store.variants.write_layer(
        run, variant, result, LayerArtifacts(weights=b"weights", neurons=table, counts=counts, **extra)
    )
    return count


def test_the_same_settings_name_the_same_pruning_whatever_its_layers(store: Store, run: str) -> None:
    request = PruningRequest(sparsity=0.9, layers=[1], projections=["gate_proj"])
    assert request.settings == SPARSEGPT
    first = store.variants.create(run, request.settings)
    assert first == store.variants.create(run, SPARSEGPT)
    assert first != store.variants.create(run, PruningSettings(sparsity=0.8))
    assert keys.kind_of(first) == "pruning"
    assert store.variants.pruning(run, first).title == "SparseGPT 90 %"


def test_titles_say_what_matters() -> None:
    chosen = PruningSettings(method="wanda", pattern="2:4", neurons=NeuronChoice(by="wd"), propagate=True)
    assert chosen.title == "Wanda 2:4, only 3 % highest WD, propagated"
    assert ExpansionSettings(clusters="random", bits=4).title == "16 experts 50 %, 4 bits, random clusters"


def test_layers_are_added_one_by_one(store: Store, run: str) -> None:
    variant = store.variants.create(run, SPARSEGPT)
    everything = Coverage()
    total = sum(len(names) for names in store.variants.missing(run, variant, everything).values())
    write(store, run, variant, 1, "gate_proj")
    one = store.variants.pruning(run, variant)
    assert [(r.layer, r.projection) for r in one.layers] == [(1, "gate_proj")]
    assert (one.layers_total, one.complete) == (total, False)
    assert store.variants.missing(run, variant, Coverage(layers=[1], projections=["gate_proj"])) == {}
    assert store.variants.missing(run, variant, Coverage(layers=[1]))[1] == ["down_proj"]
    for layer, names in store.variants.missing(run, variant, everything).items():
        for name in names:
            write(store, run, variant, layer, name)
    assert store.variants.pruning(run, variant).complete


def test_a_layer_without_its_manifest_is_not_there(store: Store, run: str) -> None:
    variant = store.variants.create(run, SPARSEGPT)
    write(store, run, variant, 0, "gate_proj")
    again = Store(store.files.url)
    again.files.delete(keys.variant_layer(run, variant, 0, "gate_proj", "manifest.json"))
    assert again.variants.results(run, variant) == []


def test_altered_weights_are_noticed(store: Store, run: str) -> None:
    variant = store.variants.create(run, SPARSEGPT)
    write(store, run, variant, 0, "gate_proj")
    assert store.variants.sound(run, variant, 0, "gate_proj")
    store.files.write(keys.variant_layer(run, variant, 0, "gate_proj", "weights.safetensors"), b"weightz")
    assert not store.variants.sound(run, variant, 0, "gate_proj")
    with pytest.raises(CorruptStore, match="does not match its checksum"):
        store.variants.read(run, variant, 0, "gate_proj", "weights.safetensors")


@pytest.mark.parametrize(
    ("coverage", "message"),
    [
        (Coverage(layers=[99]), "no block 99"),
        (Coverage(projections=["nothing"]), "no projection 'nothing'"),
    ],
)
def test_layers_the_model_lacks_are_refused(store: Store, run: str, coverage: Coverage, message: str) -> None:
    with pytest.raises(NotFound, match=message):
        store.variants.missing(run, store.variants.create(run, SPARSEGPT), coverage)


def test_unknown_and_deleted_variants(store: Store, run: str) -> None:
    with pytest.raises(NotFound, match="has no pruning"):
        store.variants.pruning(run, "p-000000000000")
    with pytest.raises(NotFound, match="no pruning or expansion"):
        store.variants.pruning(run, "../../etc")
    variant = store.variants.create(run, EXPERTS)
    with pytest.raises(NotFound, match="is an expansion"):
        store.variants.pruning(run, variant)
    write(store, run, variant, 0, "gate_proj")
    store.variants.delete(run, variant)
    assert store.variants.ids(run, keys.kind_of(variant)) == []
    with pytest.raises(NotFound):
        store.variants.expansion(run, variant)


def test_metrics_of_variants_join_the_scores(store: Store, run: str) -> None:
    pruning, expansion = store.variants.create(run, SPARSEGPT), store.variants.create(run, EXPERTS)
    count = write(store, run, pruning, 1, "gate_proj", scale=3.0)
    write(store, run, expansion, 1, "gate_proj", scale=2.0)
    both = [pruning, expansion]
    values = store.layer_values(run, 1, "gate_proj", [Metric.wd, Metric.ri, Metric.pruned_w1], both).metrics
    assert values["ri"] == [1.0] + [1.5] * (count - 1)  # both exact at index 0
    assert values["pruned_w1"] == [1.5 * i for i in range(count)]
    assert set(store.layer_values(run, 0, "gate_proj", [Metric.ri], both).metrics["ri"]) == {None}
    row = next(
        r
        for r in store.run_map(
            run, MapQuery(metric=Metric.pruned_rmse, pruning=both[0], expansion=both[1])
        ).rows
        if (r.layer, r.projection) == (1, "gate_proj")
    )
    assert row.values[0] == 3.0 * (count - 1)
    page = store.neurons(run, NeuronQuery(sort="-pruned_rmse", pruning=pruning, limit=1))
    assert (page.items[0].layer, page.items[0].index) == (1, count - 1)
    assert page.items[0].effects is not None
    assert page.items[0].effects.pruned_rmse == 3.0 * (count - 1)
    write(store, run, pruning, 0, "gate_proj", scale=7.0)  # what is added later shows at once
    assert store.neurons(run, NeuronQuery(sort="-pruned_rmse", pruning=pruning, limit=1)).items[0].layer == 0


def test_a_metric_without_its_variant_is_refused(store: Store, run: str) -> None:
    with pytest.raises(InvalidRequest, match="'ri' needs the expansion and the pruning"):
        store.run_map(run, MapQuery(metric=Metric.ri))
    pruning = store.variants.create(run, SPARSEGPT)
    with pytest.raises(InvalidRequest, match="needs the expansion"):
        store.neurons(run, NeuronQuery(sort="-weighted_wd", pruning=pruning))


def test_distributions_of_a_neuron(store: Store, run: str) -> None:
    pruning, expansion = store.variants.create(run, SPARSEGPT), store.variants.create(run, EXPERTS)
    write(store, run, pruning, 1, "gate_proj", scale=3.0)
    write(store, run, expansion, 1, "gate_proj", scale=2.0)
    found = store.distributions(run, 1, "gate_proj", 5, pruning, expansion)
    neuron = store.neuron(run, 1, "gate_proj", 5)
    assert len(found.dense) == len(found.gaussian) == 192
    assert sum(found.dense) == sum(neuron.distribution.counts) == found.tokens
    assert sum(found.gaussian) == pytest.approx(found.tokens)
    assert found.low + 32 * found.width == pytest.approx(neuron.distribution.low)
    assert found.low + 160 * found.width == pytest.approx(neuron.distribution.high)
    assert found.pruning is not None
    assert found.expansion is not None
    assert found.ri == pytest.approx(1.5)
    assert (found.pruning.rmse, found.pruning.counts) == (15.0, [2] * 192)
    assert found.expansion.experts[1].wd is None
    assert found.expansion.experts[2].counts[0] == 5 * 3 * 192 + 2 * 192
    assert found.expansion.weighted_wd == 0.125
    assert found.expansion.token_experts
    assert all(expert == position % 3 for position, expert in found.expansion.token_experts.items())


def test_distributions_say_what_is_not_done(store: Store, run: str) -> None:
    pruning = store.variants.create(run, SPARSEGPT)
    with pytest.raises(Conflict, match="has not done gate_proj of block 1"):
        store.distributions(run, 1, "gate_proj", 5, pruning, None)
    bare = store.distributions(run, 1, "gate_proj", 5, None, None)
    assert (bare.pruning, bare.expansion, bare.ri) == (None, None, None)


def test_tokens_of_each_expert(store: Store, run: str) -> None:
    expansion = store.variants.create(run, EXPERTS)
    write(store, run, expansion, 0, "gate_proj")
    found = store.experts(run, expansion, 0, "gate_proj")
    tokens = store.tokens(run)
    assert sum(expert.tokens for expert in found) == len(tokens)
    assert all(token.position % 3 == expert.expert for expert in found for token in expert.examples)
    pieces = tokens["piece"].to_pylist()
    counted = [pieces[i] for i in range(0, len(pieces), 3)]
    assert all(counted.count(text) == times for text, times in found[0].commonest)


def test_evaluations(store: Store, run: str) -> None:
    pruning = store.variants.create(run, SPARSEGPT)
    request = EvaluationRequest(variants=[pruning], tokens=64, window=32)
    first = store.evaluations.create(run, request)
    assert not store.evaluations.get(run, first).finished
    dense = PerplexityResult(title="dense", perplexity=9.9, low=9, high=11, ffn_sparsity=0, layers=0)
    store.evaluations.finish(run, first, [dense], tokens=62, windows=2, seconds=1.5)
    assert store.evaluations.get(run, first).results == [dense]
    write(store, run, pruning, 0, "gate_proj")  # the pruning is another model now
    assert store.evaluations.create(run, request) != first
    assert [e.finished for e in store.evaluations.all(run)] == [False, True]
    store.evaluations.delete(run, first)
    with pytest.raises(NotFound, match="no evaluation"):
        store.evaluations.get(run, first)


def test_deleting_the_run_deletes_its_variants(store: Store, run: str, tmp_path: Path) -> None:
    variant = store.variants.create(run, SPARSEGPT)
    store.delete_run(run)
    with pytest.raises(NotFound):
        store.variants.pruning(run, variant)
