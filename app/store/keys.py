"""Where everything lies in the store: the one place that builds its keys.

store.json                                  identity of the store
texts/<sha16>.json                          posted corpora
runs/<run>/request.json                     what was asked for; written at submit
runs/<run>/facts.json, tokens.parquet       the token stream and what is known before the first block
runs/<run>/blocks/<0007>/...                inputs, scores, arrays and (last) the manifest of one block
runs/<run>/scores.parquet, manifest.json    written at the end; without the manifest a run is incomplete
runs/<run>/prunings/<id>/record.json        settings of a pruning; expansions/<id> likewise
runs/<run>/prunings/<id>/layers/<0007>.<projection>/...   weights, comparisons and (last) the manifest of one layer
runs/<run>/prunings/<id>/export/            the exported model
runs/<run>/evaluations/<id>/                record.json, and at the end result.json
runs/<run>/outputs/<0007>.<projection>/     record.json; every token's output, pairs, and (last) the manifest of one layer
runs/<run>/sweeps/<id>/                     record.json, parts/<012>.npz while it is made; arrays and (last) the manifest
"""

from __future__ import annotations

import hashlib
import json
import re

from app.errors import NotFound
from app.schemas.evaluation import EVALUATION_PATTERN
from app.schemas.run import RUN_PATTERN, RunRequest
from app.schemas.sweep import SWEEP_PATTERN
from app.schemas.variant import VARIANT_PATTERN, VariantKind

FORMAT = 1
ARRAYS = ("counts", "quantiles", "token_positions", "token_values")

STORE = "store.json"
TEXTS = "texts"
RUNS = "runs"

_RUN = re.compile(RUN_PATTERN)
_VARIANT = re.compile(VARIANT_PATTERN)
_EVALUATION = re.compile(EVALUATION_PATTERN)
_SWEEP = re.compile(SWEEP_PATTERN)
_FOLDERS = {VariantKind.pruning: "prunings", VariantKind.expansion: "expansions"}
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")


def run_id(request: RunRequest, title: str, fingerprint: str, corpus: str = "") -> str:
    """The run's id: a readable slug and a digest over request, content of model and corpus, and store format.

    `fingerprint` and `corpus` identify contents; an empty `corpus` means its name alone identifies it.
    """
    content = {"request": request.model_dump(mode="json"), "fingerprint": fingerprint, "format": FORMAT}
    if corpus:
        content["corpus"] = corpus
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:40].strip("-") or "model"
    return f"{slug}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def text_digest(text: str) -> str:
    """The 16 hex digits that name a posted text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def text(digest: str) -> str:
    """Key of a posted text."""
    if not re.fullmatch(r"[0-9a-f]{16}", digest):
        raise NotFound(f"There is no text '{digest}'.", hint="GET /api/v1/corpora lists the posted texts.")
    return f"{TEXTS}/{digest}.json"


def run(run_id: str, name: str = "") -> str:
    """Key of a run's folder, or of `name` in it. An id that cannot be one is refused: it never becomes a path."""
    if not _RUN.fullmatch(run_id):
        raise NotFound(f"There is no run '{run_id}'.", hint="GET /api/v1/runs lists the runs.")
    return f"{RUNS}/{run_id}/{name}".rstrip("/")


def block(run_id: str, layer: int, name: str = "") -> str:
    """Key of a block's folder, or of `name` in it."""
    return f"{run(run_id)}/blocks/{layer:04d}/{name}".rstrip("/")


def array(projection: str, name: str) -> str:
    """Name of an array inside its block's folder."""
    _check_name(projection)
    return f"arrays.zarr/{projection}/{name}"


def fingerprint(prefix: str, run_id: str, content: object) -> str:
    """Id of something made from a run: a letter, and a digest over the run's id and `content` (JSON-able)."""
    canonical = json.dumps({"run": run_id, "content": content, "format": FORMAT}, sort_keys=True)
    return f"{prefix}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def kind_of(variant_id: str) -> VariantKind:
    """Whether an id is that of a pruning or of an expansion. Raises NotFound when it can be neither."""
    if not _VARIANT.fullmatch(variant_id):
        raise NotFound(
            f"There is no pruning or expansion '{variant_id}'.",
            hint="GET /api/v1/runs/{run}/prunings and /expansions list them.",
        )
    return VariantKind.pruning if variant_id.startswith("p") else VariantKind.expansion


def variants(run_id: str, kind: VariantKind) -> str:
    """Key of the folder of a run's prunings or expansions."""
    return run(run_id, _FOLDERS[kind])


def variant(run_id: str, variant_id: str, name: str = "") -> str:
    """Key of a pruning's or expansion's folder, or of `name` in it."""
    return f"{variants(run_id, kind_of(variant_id))}/{variant_id}/{name}".rstrip("/")


def variant_layer(run_id: str, variant_id: str, layer: int, projection: str, name: str = "") -> str:
    """Key of the folder of one layer of a variant, or of `name` in it."""
    return f"{variant(run_id, variant_id)}/layers/{layer_name(layer, projection)}/{name}".rstrip("/")


def layer_name(layer: int, projection: str) -> str:
    """Name of a layer's folder."""
    _check_name(projection)
    return f"{layer:04d}.{projection}"


def evaluation(run_id: str, evaluation_id: str, name: str = "") -> str:
    """Key of an evaluation's folder, or of `name` in it."""
    if not _EVALUATION.fullmatch(evaluation_id):
        raise NotFound(
            f"There is no evaluation '{evaluation_id}'.",
            hint="GET /api/v1/runs/{run}/evaluations lists them.",
        )
    return f"{run(run_id)}/evaluations/{evaluation_id}/{name}".rstrip("/")


def outputs(run_id: str, layer: int, projection: str, name: str = "") -> str:
    """Key of the folder of a layer's stored outputs, or of `name` in it."""
    return f"{run(run_id)}/outputs/{layer_name(layer, projection)}/{name}".rstrip("/")


def sweep(run_id: str, sweep_id: str, name: str = "") -> str:
    """Key of a sweep's folder, or of `name` in it."""
    if not _SWEEP.fullmatch(sweep_id):
        raise NotFound(f"There is no sweep '{sweep_id}'.", hint="GET /api/v1/runs/{run}/sweeps lists them.")
    return f"{run(run_id)}/sweeps/{sweep_id}/{name}".rstrip("/")


def _check_name(projection: str) -> None:
    if not _NAME.fullmatch(projection):
        raise NotFound(f"There is no projection '{projection}'.", hint="See the run's layers.")
