"""Models with experts, on disk and in memory: what `export_expanded` writes beside the dense model, and its reader.

`wasserscope.json` names the blocks and projections that have experts. Each such block has a file of packed weights
(`experts.<projection>`, see `worker.models.packed`) and routers (`router.<number>.<tensor>`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from app.catalog import Checkpoint
from app.catalog.families import Layout
from app.errors import CorruptFile, ModelError
from app.schemas.model import Projection
from worker.models import skeleton
from worker.models.changes import Assignments, Experts, check_changes, run_experts
from worker.models.head import Head
from worker.models.packed import Packed, open_bytes, router_from, router_tensors, write
from worker.models.tensorfile import durable
from worker.models.weights import Weights
from worker.numerics.router import Router

MANIFEST = "wasserscope.json"


class ExpandedProjection(BaseModel):
    """A projection with experts; those with the same `router` of their block share it."""

    projection: Projection
    router: int


class ExpandedBlock(BaseModel):
    """A block with experts and the file that has them."""

    layer: int = Field(ge=0)
    file: str = Field(pattern=r"^experts-\d+\.safetensors$")
    projections: list[ExpandedProjection]


class Manifest(BaseModel):
    """What is expanded: `path` that of the `count` blocks in the tensors' names; `causal` whether the model has a head."""

    format: Literal["wasserscope-expanded-1"] = "wasserscope-expanded-1"
    path: str
    count: int
    causal: bool
    blocks: list[ExpandedBlock]


def write_experts(
    checkpoint: Checkpoint,
    layout: Layout,
    changes: Callable[[int, Projection], Experts | None],
    folder: Path,
    progress: Callable[[float], None],
) -> None:
    """Write the experts' files and the manifest. Memory: the experts of a block, one of them packed.

    Raises ModelError when nothing is expanded or experts do not fit.
    """
    blocks = []
    for layer in range(layout.blocks):
        found = [(p, change) for p in layout.projections if (change := changes(layer, p)) is not None]
        check_changes(layout.projections, {projection.name: change for projection, change in found})
        if found:
            blocks.append(_write_block(layer, found, folder))
        progress((layer + 1) / layout.blocks)
    if not blocks:
        raise ModelError(
            f"No layer of '{checkpoint.title}' has experts.", hint="Export it as a pruned model."
        )
    manifest = Manifest(path=layout.path, count=layout.blocks, causal=_has_head(checkpoint), blocks=blocks)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")


def _write_block(layer: int, found: Sequence[tuple[Projection, Experts]], folder: Path) -> ExpandedBlock:
    routers: list[Router] = []
    tensors: dict[str, Tensor] = {}
    projections = []
    for projection, change in found:
        number = next((i for i, router in enumerate(routers) if router is change.router), len(routers))
        if number == len(routers):
            routers.append(change.router)
            parts = router_tensors(change.router)
            tensors |= {f"router.{number}.{name}": value for name, value in parts.items()}
        if not isinstance(change.weights, Tensor):
            weights = torch.stack([change.weights[i] for i in range(change.weights.shape[0])])
        else:
            weights = change.weights
        tensors[f"experts.{projection.name}"] = weights
        projections.append(ExpandedProjection(projection=projection, router=number))
    block = ExpandedBlock(layer=layer, file=f"experts-{layer:05}.safetensors", projections=projections)
    with durable(folder / block.file) as stream:
        write(stream, tensors, [name for name in tensors if name.startswith("experts.")])
    return block


def _has_head(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint is a whole causal model."""
    folder = Path(checkpoint.folder or "")
    bare = skeleton.build(folder, torch.float32, checkpoint.title)
    weights = Weights(folder, checkpoint.tensors, str(bare.base_model_prefix), checkpoint.title)
    try:
        Head(bare, weights, torch.float32, checkpoint.title)
    except ModelError:
        return False
    return True


def load_expanded(folder: Path | str, device: torch.device | str = "cpu", *, dense: bool = False) -> Any:
    """The transformers model of a folder that `export_expanded` wrote, each token computed by its own expert.

        from worker.models import load_expanded
        model = load_expanded("my-export")
        model.generate(**AutoTokenizer.from_pretrained("my-export")("Hello", return_tensors="pt"))

    In evaluation mode on `device`: a causal model, or the bare one for an encoder. Experts stay packed in memory and one
    is unpacked when a token needs it; with `dense` all are unpacked at once, which is faster and takes the experts' number
    of times the memory. The folder's dense weights are read first and dropped where experts take their place. The model
    cannot be saved again.
    Raises ModelError for another folder, CorruptFile for a damaged one.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    model = _dense_model(folder, manifest)
    path = skeleton.find_blocks(model.base_model, manifest.path, manifest.count, folder.name)[0]
    assignments = Assignments()
    for block in manifest.blocks:
        experts = _read_block(folder, block, dense)
        module = model.base_model.get_submodule(f"{path}.{block.layer}")
        for name in dict.fromkeys(projection.module for projection, _ in experts):
            some = [(projection, change) for projection, change in experts if projection.module == name]
            parent, _, leaf = name.rpartition(".")
            own = module.get_submodule(name)
            setattr(module.get_submodule(parent), leaf, ExpandedLinear(own, some, assignments))
    model.save_pretrained = _refuse_saving
    return model.to(device).eval()


class ExpandedLinear(nn.Module):
    """A linear layer, some or all of whose rows are computed by an expert for each token. Follows `.to(...)`."""

    def __init__(
        self, own: Any, experts: Sequence[tuple[Projection, Experts]], assignments: Assignments
    ) -> None:
        super().__init__()
        rows = own.bias.numel() if own.bias is not None else own.weight.shape[0]
        whole = sum(projection.out_features for projection, _ in experts) == rows
        self.own = None if whole else own
        self.register_parameter("bias", own.bias if whole else None)
        self._experts, self._assignments = list(experts), assignments

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (..., rows) of inputs (..., in)."""
        bias: Any = self.bias if self.own is None else self.own.bias
        return run_experts(self.own, bias, self._experts, self._assignments, inputs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """What `.to(...)` does to parameters, here also done to experts."""
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        moved = []
        for projection, change in self._experts:
            old = change.weights
            if isinstance(old, Packed):
                weights: Any = replace(old, mask=fn(old.mask), values=fn(old.values))
            else:
                weights = fn(old) if isinstance(old, Tensor) else old
            moved.append((projection, replace(change, weights=weights)))
        self._experts = moved
        return result


def _manifest(folder: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"'{folder.name}' has no {MANIFEST}: it is no model with experts.",
            hint="Open other models with transformers.",
        ) from error
    except (ValidationError, ValueError) as error:
        raise CorruptFile(
            f"'{MANIFEST}' of '{folder.name}' cannot be read.", hint="Export the model again."
        ) from error


def _dense_model(folder: Path, manifest: Manifest) -> Any:
    auto = AutoModelForCausalLM if manifest.causal else AutoModel
    transformers_logging.disable_progress_bar()
    try:
        model, report = auto.from_pretrained(folder, trust_remote_code=False, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        if "memory" in str(error):
            raise
        raise CorruptFile(
            f"'{folder.name}' cannot be opened: {(str(error).splitlines() or [''])[0]}",
            hint="Export the model again.",
        ) from error
    if manifest.causal and report["missing_keys"]:  # transformers gives them random values, with a warning
        raise CorruptFile(
            f"'{folder.name}' lacks the tensor '{min(report['missing_keys'])}'.",
            hint="Export the model again.",
        )
    return model


def _read_block(folder: Path, block: ExpandedBlock, dense: bool) -> list[tuple[Projection, Experts]]:
    """The experts of a block. Raises CorruptFile when the file is not as the manifest has it."""
    try:
        tensors = open_bytes((folder / block.file).read_bytes())
    except OSError as error:
        raise CorruptFile(
            f"'{block.file}' of '{folder.name}' cannot be read: {error}.", hint="Export the model again."
        ) from error
    routers: dict[int, Router] = {}
    found = []
    for item in block.projections:
        if item.router not in routers:
            start = f"router.{item.router}."
            routers[item.router] = router_from(
                {
                    n.removeprefix(start): t
                    for n, t in tensors.items()
                    if n.startswith(start) and isinstance(t, Tensor)
                }
            )
        packed = tensors.pop(f"experts.{item.projection.name}", None)
        if not isinstance(packed, Packed):
            raise CorruptFile(
                f"'{block.file}' of '{folder.name}' lacks the experts of '{item.projection.name}'."
            )
        change = Experts(routers[item.router], packed.unpack() if dense else packed)
        check_changes([item.projection], {item.projection.name: change})
        found.append((item.projection, change))
    return found


def _refuse_saving(*_args: Any, **_kwargs: Any) -> None:
    raise ModelError("A model with experts cannot be saved by transformers.", hint="Copy its folder.")
