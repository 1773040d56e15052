"""Whether a model predicts each token from those before it, as perplexity needs; from its configuration alone."""

from __future__ import annotations

from app.catalog.checkpoint import Checkpoint
from app.errors import ModelError

ENCODERS = frozenset(
    [
        "albert",
        "bert",
        "camembert",
        "distilbert",
        "electra",
        "ernie",
        "mpnet",
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
    ]
)
"""Types whose attention sees both sides, unless their configuration makes them decoders."""


def check_causal(checkpoint: Checkpoint) -> None:
    """Raise ModelError for an encoder. Workers ask once more, of transformers' own tables."""
    config = checkpoint.config
    kind = str(config.get("model_type", ""))
    encoder = kind in ENCODERS and not config.get("is_decoder")
    if encoder or config.get("use_bidirectional_attention"):
        raise ModelError(
            f"'{checkpoint.title}' ({kind}) is an encoder, whose attention sees both sides: it has no perplexity.",
            hint="Pruning and expansion of it work; compare its neurons' outputs instead.",
        )
