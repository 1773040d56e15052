"""What the name of a model or corpus means: files, headers, layers, identity, cost. Free of torch."""

from app.catalog.causal import check_causal
from app.catalog.checkpoint import Checkpoint, resolve
from app.catalog.estimate import estimate
from app.catalog.estimate_evaluation import estimate_evaluation
from app.catalog.estimate_sweep import batches, estimate_sweep
from app.catalog.estimate_variant import Pace, estimate_variant
from app.catalog.inspection import inspect_model
from app.catalog.sources import model_sources
from app.catalog.texts import corpora, corpus_fingerprint, corpus_text

__all__ = [
    "Checkpoint",
    "Pace",
    "batches",
    "check_causal",
    "corpora",
    "corpus_fingerprint",
    "corpus_text",
    "estimate",
    "estimate_evaluation",
    "estimate_sweep",
    "estimate_variant",
    "inspect_model",
    "model_sources",
    "resolve",
]
