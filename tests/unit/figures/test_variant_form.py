"""The form that prunes and expands: from its fields to the request, and from a refusal to the field."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import Conflict, FieldError, InvalidRequest
from app.schemas.expansion import ExpansionRequest, ExpansionSettings
from app.schemas.pruning import Method, NeuronChoice, PruningRequest, PruningSettings
from app.schemas.variant import VariantKind
from frontend import paths
from frontend.components import variant_form as form
from frontend.form_errors import FormErrors, fields_of
from frontend.variant_request import pruning_like, request_of
from tests.unit.figures import fake_client as fake
from tests.unit.figures import fake_variants

PRUNE: dict[str, Any] = {
    "method": "sparsegpt",
    "sparsity": 90,
    "pattern": "",
    "bits": "none",
    "coverage": "this",
    "per_row": False,
    "propagate": False,
    "damping": 0.01,
    "block": 128,
    "compare": True,
}
EXPAND: dict[str, Any] = {
    **{name: value for name, value in PRUNE.items() if name != "method"},
    "experts": 16,
    "reduction": 32,
    "clusters": "kmeans",
    "seed": 0,
}


def place(kind: VariantKind, settings: Any = None) -> dict[str, Any]:
    start = settings or form.SETTINGS[kind]()
    return {
        "kind": kind,
        "run": fake.RUN,
        "layer": 3,
        "projection": "up_proj",
        "settings": start.model_dump(mode="json"),
    }


def prune(**changes: Any) -> PruningRequest:
    made = request_of(PRUNE | changes, place(VariantKind.pruning))
    assert isinstance(made, PruningRequest)
    return made


def test_the_form_asks_for_what_it_shows() -> None:
    assert prune() == PruningRequest(sparsity=0.9, layers=[3], projections=["up_proj"])
    made = request_of(EXPAND | {"clusters": "random", "experts": 4}, place(VariantKind.expansion))
    assert made == ExpansionRequest(
        sparsity=0.9, experts=4, clusters="random", layers=[3], projections=["up_proj"]
    )


@pytest.mark.parametrize(
    ("coverage", "layers", "projections"),
    [
        ("this", [3], ["up_proj"]),
        ("block", [3], None),
        ("projection", None, ["up_proj"]),
        ("projection:down_proj", None, ["down_proj"]),
        ("all", None, None),
    ],
)
def test_the_layers_asked_for(coverage: str, layers: Any, projections: Any) -> None:
    request = prune(coverage=coverage)
    assert (request.layers, request.projections) == (layers, projections)


def test_propagated_is_the_whole_model() -> None:
    request = prune(propagate=True, coverage="this")
    assert (request.propagate, request.layers, request.projections) == (True, None, None)


@pytest.mark.parametrize(("shown", "asked"), [(90, 0.9), (33.3, 0.333), (0, 0.0), (100, 1.0), (7, 0.07)])
def test_percents_are_shares_to_the_last_digit(shown: float, asked: float) -> None:
    """0.07 and 0.07000000000000001 would name two prunings."""
    assert prune(sparsity=shown).sparsity == asked


def test_a_pattern_takes_the_place_of_the_sparsity() -> None:
    request = prune(pattern=" 2:4 ", sparsity="")
    assert request.pattern == "2:4"
    assert request.target == 0.5


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"sparsity": 120}, "sparsity", "Between 0 and 100 %"),
        ({"sparsity": ""}, "sparsity", "needed"),
        ({"pattern": "two of four"}, "pattern", "2:4 for two zeros"),
        ({"pattern": "5:4"}, "pattern", "N at most M"),
        ({"damping": 0}, "damping", "Must be greater than 0"),
        ({"bits": "9"}, "bits", "Must be less than or equal to 8"),
    ],
)
def test_what_does_not_fit_is_said_at_its_field(changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(FormErrors) as caught:
        prune(**changes)
    assert list(caught.value.fields) == [field]
    assert words in caught.value.fields[field]


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (
            InvalidRequest("Not valid.", hint="See there.", errors=[FieldError("body.experts", "Too many")]),
            {"experts": "Too many"},
        ),
        (
            InvalidRequest("Rows of 40 weights.", hint="Take 8.").at("body.pattern"),
            {"pattern": "Rows of 40 weights. Take 8."},
        ),
        (
            InvalidRequest("Not valid.", errors=[FieldError("body.neurons.share", "Too large")]),
            {"neurons_share": "Too large"},
        ),
        (Conflict("Run 'x' is not finished."), {}),
    ],
)
def test_a_refusal_of_the_service_finds_its_field(error: Any, fields: dict[str, str]) -> None:
    assert fields_of(error) == fields


def test_an_expansion_is_compared_with_the_pruning_of_the_same_settings() -> None:
    expansion = ExpansionRequest(pattern="2:4", bits=4, per_row=True, damping=0.1, layers=[3])
    pruning = pruning_like(expansion)
    assert pruning.method is Method.sparsegpt
    assert (pruning.pattern, pruning.bits, pruning.per_row, pruning.damping) == ("2:4", 4, True, 0.1)
    assert pruning.layers == [3]


def test_the_form_starts_as_what_is_shown_was_made() -> None:
    expansion = fake_variants.an_expansion(settings=ExpansionSettings(sparsity=0.7, bits=4, experts=8))
    assert form.settings_for(VariantKind.expansion, expansion) == expansion.settings
    pruned = form.settings_for(VariantKind.pruning, expansion)
    assert (pruned.sparsity, pruned.bits) == (0.7, 4)


CHOSEN = {"neurons_by": "random", "neurons_share": 3, "neurons_seed": 7}


@pytest.mark.parametrize(
    ("which", "made"),
    [
        ("every", None),
        ("only", NeuronChoice(by="random", share=0.03, keep=False, seed=7)),
        ("keep", NeuronChoice(by="random", share=0.03, keep=True, seed=7)),
    ],
)
def test_which_neurons_are_pruned(which: str, made: NeuronChoice | None) -> None:
    """The choice replaces that of the settings the form began with."""
    settings = PruningSettings(sparsity=0.9, neurons=NeuronChoice(share=0.1))
    request = request_of(PRUNE | CHOSEN | {"neurons": which}, place(VariantKind.pruning, settings))
    assert isinstance(request, PruningRequest)
    assert request.neurons == made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"neurons_share": 0}, "at most 100 %"),
        ({"neurons_share": 101}, "at most 100 %"),
        ({"neurons_share": ""}, "needed"),
    ],
)
def test_a_share_of_neurons_that_does_not_fit_is_said_at_its_field(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(FormErrors) as caught:
        prune(**CHOSEN | {"neurons": "only"} | changes)
    assert list(caught.value.fields) == ["neurons_share"]
    assert words in caught.value.fields["neurons_share"]
    prune(**CHOSEN | {"neurons": "every"} | changes)  # nothing is chosen: what stands there does not count


def test_outputs_are_compared_unless_the_form_says_otherwise() -> None:
    assert prune(compare=True).compare
    assert not prune(compare=False).compare
    like = fake_variants.a_pruning(settings=PruningSettings(compare=False))
    assert form.settings_for(VariantKind.pruning, like).compare


@pytest.mark.parametrize(
    ("settings", "which"),
    [(PruningSettings(), "every"), (PruningSettings(neurons=NeuronChoice(keep=True)), "keep")],
)
def test_the_form_shows_the_choice_of_neurons(settings: PruningSettings, which: str) -> None:
    opened = form.variant_form(
        form.Start(VariantKind.pruning, fake.a_run(), paths.read(f"/runs/{fake.RUN}", ""), settings)
    )
    fields = {
        part.id["name"]: part
        for part in opened._traverse()
        if isinstance(getattr(part, "id", None), dict) and part.id["type"] == "variant-field"
    }
    assert fields["neurons"].value == which
    assert fields["neurons_share"].disabled is (which == "every")


@pytest.mark.parametrize("kind", list(VariantKind))
def test_every_field_is_explained_by_the_schema_s_first_sentence(kind: VariantKind) -> None:
    for name in (*form.ORDERS[kind], *form.FINE[kind], *form.FLAGS):
        words = form.explained(kind, name)
        assert 20 < len(words) < 130, words
        assert "`" not in words


def test_coverage_is_offered_from_where_one_is() -> None:
    run = fake.a_run()
    layer = paths.read(f"/runs/{fake.RUN}/layers/3/up_proj", "")
    assert [value for value, _ in form.coverages(run, layer)] == ["this", "block", "projection", "all"]
    assert form.coverage_at_first(layer) == "this"
    everywhere = paths.read(f"/runs/{fake.RUN}", "")
    assert form.coverages(run, everywhere)[0] == ("all", "all 18 layers")


def test_estimates_are_in_words() -> None:
    made = str(form.estimate_text({VariantKind.pruning: fake_variants.ESTIMATE}))
    assert "about 12 s, 1.4 GB of memory, 45 MB in the store." in made
    assert "measured: 105 GFLOP/s on cpu" in made
    nothing = fake_variants.ESTIMATE.model_copy(update={"seconds": 0.0, "store_bytes": 0})
    assert "done already" in str(form.estimate_text({VariantKind.pruning: nothing}))
