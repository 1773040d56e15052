"""Headers of GGUF files."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from app import catalog
from app.catalog.gguf_header import read_gguf
from app.errors import CorruptFile, ModelError
from app.settings import Settings


def write(path: Path, architecture: str = "llama", **numbers: int) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_token_list([f"token{i}" for i in range(3000)])
    writer.add_array("llama.short", [1, 2, 3])
    writer.add_token_scores([0.5] * 3000)
    writer.add_bool("llama.flag", True)
    for name, number in numbers.items():
        writer.add_uint32(f"{architecture}.{name}", number)
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((6, 32), np.float32))
    quantised = gguf.quants.quantize(np.ones((4, 64), np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.ffn_down.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_reads_what_the_librarys_reader_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "file.gguf")
    header, other = read_gguf(path), gguf.GGUFReader(path)
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == {
        tensor.name: tuple(int(size) for size in tensor.shape[::-1]) for tensor in other.tensors
    }
    assert header.architecture == "llama"
    assert header.metadata["tokenizer.ggml.tokens"] == 3000
    assert header.metadata["tokenizer.ggml.scores"] == 3000
    assert header.metadata["llama.short"] == [1, 2, 3]
    assert header.metadata["llama.flag"] is True
    assert header.value("block_count") == 1


@pytest.mark.parametrize("kept", [0, 3, 10, 60, 5000, -20, -400])
def test_truncated_files_are_named(kept: int, tmp_path: Path) -> None:
    path = write(tmp_path / "file.gguf")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CorruptFile, match=r"'file\.gguf' is not a complete GGUF file") as caught:
        catalog.resolve("gguf:file.gguf", Settings(model_root=tmp_path))
    assert "again" in caught.value.hint


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "file.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(CorruptFile, match="does not begin with 'GGUF'"):
        read_gguf(tmp_path / "file.gguf")


def test_counts_that_no_file_could_hold(tmp_path: Path) -> None:
    (tmp_path / "file.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + b"\xff" * 64)
    with pytest.raises(CorruptFile, match="header cannot be read to the end"):
        read_gguf(tmp_path / "file.gguf")


@pytest.mark.parametrize("version", [1, 0x03000000])
def test_versions_that_cannot_be_read(version: int, tmp_path: Path) -> None:
    (tmp_path / "file.gguf").write_bytes(b"GGUF" + version.to_bytes(4, "little") + bytes(64))
    with pytest.raises(ModelError, match=f"has GGUF version {version}"):
        read_gguf(tmp_path / "file.gguf")


def test_experts_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "file.gguf", expert_count=8)
    with pytest.raises(ModelError, match=r"'file\.gguf' is a mixture of experts"):
        catalog.resolve("gguf:file.gguf", Settings(model_root=tmp_path))


def test_an_architecture_that_is_not_served(tmp_path: Path) -> None:
    write(tmp_path / "file.gguf", "mamba")
    with pytest.raises(ModelError, match=r"'file\.gguf' has the architecture 'mamba'") as caught:
        catalog.resolve("gguf:file.gguf", Settings(model_root=tmp_path))
    assert "llama, qwen2" in caught.value.hint
