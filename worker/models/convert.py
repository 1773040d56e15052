"""GGUF files, dequantised once: a safetensors checkpoint in the cache, from which every later run streams."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from app.catalog import Checkpoint
from app.catalog.convert import MARKER, converted_folder, is_whole
from app.catalog.headers import read_folder, read_json
from app.errors import ModelError, StoreFull
from app.settings import Settings

SHARD_SIZE = "1GB"


def converted(checkpoint: Checkpoint, settings: Settings) -> Checkpoint:
    """`checkpoint` itself when it is a folder of safetensors; else with the folder of its float32 copy.

    The copy is made aside and renamed, so it is whole or absent; one that was cut short later is made again.
    """
    if checkpoint.folder is not None or checkpoint.kind not in ("demo", "gguf"):
        return checkpoint
    folder = converted_folder(settings, checkpoint.fingerprint)
    if is_whole(folder) and _lacks_head(folder, checkpoint):
        shutil.rmtree(folder, ignore_errors=True)
    if not is_whole(folder):
        _convert(checkpoint.files[0], folder)
    files, tensors = read_folder(folder)
    return replace(
        checkpoint, folder=folder, files=files, tensors=tensors, config=read_json(folder / "config.json")
    )


def _lacks_head(folder: Path, checkpoint: Checkpoint) -> bool:
    """Whether the copy was made without the head that the GGUF file has, as version 0.1 did."""
    made = read_json(folder / "config.json").get("architectures")
    return "output.weight" in checkpoint.tensors and made != checkpoint.config["architectures"]


def _convert(file: Path, folder: Path) -> None:
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _dequantise(file, aside)
        sizes = {path.name: path.stat().st_size for path in aside.iterdir()}
        (aside / MARKER).write_text(json.dumps(sizes))
        if folder.exists() and not is_whole(folder):
            shutil.rmtree(folder)
        try:
            os.replace(aside, folder)
        except OSError:
            if not is_whole(folder):  # else another worker was first, with the same result
                raise
    except OSError as error:
        if error.errno == 28:
            raise StoreFull(
                f"No space is left at '{folder.parent}' for the dequantised copy of '{file.name}'.",
                hint="Free some, or set WASSERSCOPE_CACHE to another disk.",
            ) from error
        raise ModelError(
            f"The dequantised copy of '{file.name}' cannot be written: {error}.",
            hint="Set WASSERSCOPE_CACHE to a folder that can be written.",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _dequantise(file: Path, target: Path) -> None:
    """The model of `file`, float32, and its tokenizer, saved to `target` by transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    where: Any = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    plain = GgufConfig(dequantize=True)  # also where kernels for packed weights are installed
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off
            model, report = AutoModelForCausalLM.from_pretrained(
                **where,
                dtype=torch.float32,
                quantization_config=plain,
                trust_remote_code=False,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
    except (ValueError, KeyError, NotImplementedError, AssertionError, RuntimeError) as error:
        if "memory" in str(error):
            raise
        raise ModelError(
            f"'{file.name}' cannot be dequantised: {(str(error).splitlines() or [''])[0]}",
            hint="Use another file of the model, or its safetensors.",
        ) from error
    if report["missing_keys"]:  # transformers gives them random values, with a warning
        raise ModelError(
            f"'{file.name}' lacks, under names that transformers knows, the tensor '{min(report['missing_keys'])}'.",
            hint="Use another file of the model, or its safetensors.",
        )
    model.hf_quantizer = None  # both forbid saving, and are no longer true
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target, max_shard_size=SHARD_SIZE)
    tokenizer.save_pretrained(target)
