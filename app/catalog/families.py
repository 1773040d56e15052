"""Which linear layers of a model are its feed-forward network: a table of families, and a rule for the others.

The one truth of service and worker: both read the layers from a checkpoint's configuration and the names and shapes of
its tensors. `docs/models.md` has the table for people.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.catalog.headers import TensorInfo
from app.errors import CorruptFile, ModelError, UnsafeFile
from app.schemas.model import Projection


@dataclass(frozen=True)
class Rule:
    """A linear layer by its path inside the block; `parts` names equal shares of a fused matrix's rows."""

    module: str
    transposed: bool = False
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """`blocks`: path of the list of blocks inside the bare model; `prefix`: that model's name in a checkpoint."""

    blocks: str
    prefix: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Layout:
    """Where a checkpoint's blocks are (`path` as in its tensors' names) and what is scored in each."""

    family: str
    path: str
    blocks: int
    projections: tuple[Projection, ...]


_GATED = tuple(Rule(f"mlp.{name}") for name in ("gate_proj", "up_proj", "down_proj"))
_FUSED = (Rule("mlp.gate_up_proj", parts=("gate", "up")), Rule("mlp.down_proj"))
_LLAMA = Family("layers", "model", _GATED)

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "phi3": Family("layers", "model", _FUSED),
    "gpt_neox": Family("layers", "gpt_neox", (Rule("mlp.dense_h_to_4h"), Rule("mlp.dense_4h_to_h"))),
    "opt": Family("decoder.layers", "model", (Rule("fc1"), Rule("fc2"))),
    "gpt2": Family(
        "h", "transformer", (Rule("mlp.c_fc", transposed=True), Rule("mlp.c_proj", transposed=True))
    ),
    "bert": Family("encoder.layer", "bert", (Rule("intermediate.dense"), Rule("output.dense"))),
}
"""By `model_type` of the configuration."""

GENERAL = frozenset(
    [
        "bloom",
        "cohere",
        "distilbert",
        "electra",
        "ernie",
        "exaone4",
        "falcon",
        "gemma",
        "glm",
        "glm4",
        "gpt_neo",
        "gptj",
        "granite",
        "ministral",
        "mpt",
        "nemotron",
        "olmo",
        "olmo2",
        "olmo3",
        "openai-gpt",
        "phi",
        "roberta",
        "smollm3",
        "stablelm",
        "starcoder2",
        "xlm-roberta",
    ]
)
"""Further types of transformers' own models that the general rule serves; each is tried in the tests."""

_CONV1D = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
_NOT_FFN = re.compile(r"attn|attention|norm|(^|\.)ln_|(^|\.)mixer|conv|router|embed|rotary", re.IGNORECASE)
_BLOCK = re.compile(r"^(.*?)\.(\d+)\.(.+)$")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def find_layout(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo], title: str) -> Layout:
    """Blocks and feed-forward layers of a checkpoint.

    Raises ModelError (nothing to score, experts, encoder-decoder, quantised, multimodal), UnsafeFile (needs code of its
    own) or CorruptFile (a tensor of some block is missing).
    """
    model_type = str(config.get("model_type", ""))
    _refuse(config, tensors, title, model_type)
    family = FAMILIES.get(model_type)
    path = _table_path(family, tensors) if family else _general_path(tensors, title)
    shapes = _blocks_of(tensors, path)
    blocks = max(shapes, default=-1) + 1
    expected = first_number(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers") or blocks
    if not blocks:
        raise _none(title, model_type)
    rules = family.rules if family else _general_rules(shapes[min(shapes)], model_type)
    if not rules:
        raise _none(title, model_type)
    for layer in range(expected):
        for rule in rules:
            _check(shapes, shapes[min(shapes)], layer, rule, path, title)
    return Layout(model_type if family else "general", path, expected, _projections(rules, shapes[0], title))


def first_number(config: Mapping[str, Any], *names: str) -> int:
    """The first of the named entries that is a number above 0, else 0."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def _refuse(
    config: Mapping[str, Any], tensors: Mapping[str, TensorInfo], title: str, model_type: str
) -> None:
    if config.get("auto_map") and model_type not in FAMILIES and model_type not in GENERAL:
        raise UnsafeFile(
            f"'{title}' ({model_type or 'no model type'}) brings its own Python code, which is never run.",
            hint="Use a model of an architecture that transformers has built in.",
        )
    if config.get("is_encoder_decoder"):
        raise ModelError(
            f"'{title}' is an encoder-decoder model ({model_type}).",
            hint="Models with one stack of blocks can be scored: decoders such as Llama, encoders such as BERT.",
        )
    if any(
        isinstance(config.get(part), Mapping) for part in ("vision_config", "audio_config", "text_config")
    ):
        raise ModelError(
            f"'{title}' is a multimodal model ({model_type}).",
            hint="Use a checkpoint of its text model alone.",
        )
    if any(".experts." in name for name in tensors) or any(first_number(config, key) > 1 for key in _EXPERTS):
        raise ModelError(
            f"'{title}' is a mixture of experts ({model_type}): each token passes only some of its feed-forward layers.",
            hint="Dense models can be scored.",
        )
    if config.get("quantization_config"):
        method = dict(config["quantization_config"]).get("quant_method", "unknown method")
        raise ModelError(
            f"The weights of '{title}' are quantised ({method}).",
            hint="Use the original weights, or a GGUF file: those are dequantised once.",
        )


def _table_path(family: Family, tensors: Mapping[str, TensorInfo]) -> str:
    prefixed = f"{family.prefix}.{family.blocks}"
    return prefixed if any(name.startswith(f"{prefixed}.") for name in tensors) else family.blocks


def _general_path(tensors: Mapping[str, TensorInfo], title: str) -> str:
    found = Counter(match[1] for name in tensors if (match := _BLOCK.match(name)))
    if not found:
        raise _none(title, "no numbered blocks")
    return found.most_common(1)[0][0]


def _blocks_of(tensors: Mapping[str, TensorInfo], path: str) -> dict[int, dict[str, tuple[int, ...]]]:
    """Shapes by name inside the block, by block."""
    blocks: dict[int, dict[str, tuple[int, ...]]] = {}
    start = f"{path}."
    for name, info in tensors.items():
        if name.startswith(start):
            number, _, inner = name[len(start) :].partition(".")
            if number.isdecimal():
                blocks.setdefault(int(number), {})[inner] = info.shape
    return blocks


def _general_rules(shapes: Mapping[str, tuple[int, ...]], model_type: str) -> tuple[Rule, ...]:
    """The 2-D weights outside attention and norms; those that widen come first."""
    weights = {
        name.removesuffix(".weight"): shape
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and not _NOT_FFN.search(name)
    }
    transposed = model_type in _CONV1D

    def narrows(module: str) -> bool:
        rows, columns = weights[module]
        return rows > columns if transposed else rows < columns

    names = sorted(weights, key=lambda module: (narrows(module), module))
    return tuple(
        Rule(name, transposed, ("gate", "up") if name.endswith("gate_up_proj") else ()) for name in names
    )


def _check(
    shapes: Mapping[int, Mapping[str, tuple[int, ...]]],
    first: Mapping[str, tuple[int, ...]],
    layer: int,
    rule: Rule,
    path: str,
    title: str,
) -> None:
    """Raise unless the block has the layer, shaped as in the first block."""
    name = f"{rule.module}.weight"
    if name not in first:
        raise ModelError(
            f"'{title}' has no feed-forward layer '{path}.{layer}.{name}'.",
            hint="Its files do not fit its configuration's model type.",
        )
    shape = shapes.get(layer, {}).get(name)
    if shape is None:
        raise CorruptFile(
            f"'{title}' lacks the tensor '{path}.{layer}.{name}'.", hint="Copy or download the model again."
        )
    if shape != first[name] or len(shape) != 2:
        raise ModelError(
            f"'{path}.{layer}.{name}' of '{title}' has the shape {list(shape)}, another block's {list(first[name])}.",
            hint="Models whose blocks differ in width, or are not plain matrices, cannot be scored.",
        )


def _projections(
    rules: tuple[Rule, ...], shapes: Mapping[str, tuple[int, ...]], title: str
) -> tuple[Projection, ...]:
    found = []
    for rule, name in zip(rules, short_names([rule.module for rule in rules]), strict=True):
        rows, columns = shapes[f"{rule.module}.weight"]
        if rule.transposed:
            rows, columns = columns, rows
        share = rows // (len(rule.parts) or 1)
        if rule.parts and rows % len(rule.parts):
            raise ModelError(
                f"'{rule.module}' of '{title}' has {rows} rows, which do not split into {rule.parts}."
            )
        for i, part in enumerate(rule.parts or ("",)):
            found.append(
                Projection(
                    name=f"{name}.{part}" if part else name,
                    module=rule.module,
                    in_features=columns,
                    out_features=share,
                    first_row=i * share,
                    transposed=rule.transposed,
                    bias=f"{rule.module}.bias" in shapes,
                )
            )
    return tuple(found)


def short_names(modules: list[str]) -> list[str]:
    """The shortest ends of the modules' paths, equally long, that tell them apart."""
    for length in range(1, max(module.count(".") + 1 for module in modules) + 1):
        names = [".".join(module.split(".")[-length:]) for module in modules]
        if len(set(names)) == len(names):
            return names
    return modules


def _none(title: str, kind: str) -> ModelError:
    return ModelError(
        f"'{title}' ({kind or 'no model type'}) has no feed-forward layers that could be scored.",
        hint="See docs/models.md for the families that are known.",
    )
