"""What the name of a model or corpus means: files, headers, layers, identity, cost. Free of torch."""

from app.catalog.checkpoint import Checkpoint, resolve
from app.catalog.estimate import estimate
from app.catalog.inspection import inspect_model
from app.catalog.sources import model_sources
from app.catalog.texts import corpora, corpus_fingerprint, corpus_text

__all__ = [
    "Checkpoint",
    "corpora",
    "corpus_fingerprint",
    "corpus_text",
    "estimate",
    "inspect_model",
    "model_sources",
    "resolve",
]
