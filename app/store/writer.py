"""What jobs write: tokens and facts, one block after the other, and the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from app.errors import CorruptStore, NotFound
from app.store import arrays as zarrays
from app.store import keys, scores, tokens
from app.store.files import Buffer, Stamp
from app.store.manifest import BlockManifest, FileStamp, RunFacts, RunManifest
from app.store.parsing import from_parquet, to_parquet
from app.store.records import Records

INPUTS = "inputs.safetensors"
_HINT = "Submit the run again: damaged blocks are computed anew, the others are kept."


class Writer(Records):
    """Writing and checking of artifacts. One writer a block; a block's manifest comes last."""

    def write_tokens(self, run: str, table: pa.Table, facts: RunFacts) -> None:
        """The token stream and what is known before the first block."""
        self.files.write(keys.run(run, "tokens.parquet"), to_parquet(table.cast(tokens.SCHEMA)))
        self.files.write(keys.run(run, "facts.json"), facts.model_dump_json(indent=1).encode())

    def write_inputs(self, run: str, layer: int, inputs: Iterable[Buffer]) -> Stamp:
        """A block's inputs, before it is run: a safetensors file in parts, key "inputs" (tokens, d_model).

        From here until `write_block` the block does not exist.
        """
        self.drop_block(run, layer)
        return self.files.write(keys.block(run, layer, INPUTS), inputs)

    def write_block(
        self,
        run: str,
        layer: int,
        inputs: Stamp,
        table: pa.Table,
        arrays: Mapping[str, Mapping[str, np.ndarray[Any, Any]]],
        seconds: float,
    ) -> BlockManifest:
        """The rest of one block, and last its manifest.

        `inputs`: what `write_inputs` gave. `table`: rows of `scores.SCHEMA`. `arrays[projection][name]`: one row per
        neuron, names as in `keys.ARRAYS`. `seconds`: the time its computation took.
        """
        files: dict[str, Stamp] = {
            INPUTS: inputs,
            "scores.parquet": self.files.write(
                keys.block(run, layer, "scores.parquet"), to_parquet(table.cast(scores.SCHEMA))
            ),
        }
        for projection, named in arrays.items():
            for name in keys.ARRAYS:
                folder = keys.array(projection, name)
                for part, data in zarrays.encode(named[name]).items():
                    key = f"{folder}/{part}"
                    files[key] = self.files.write(keys.block(run, layer, key), data)
        manifest = BlockManifest(
            layer=layer,
            neurons=table.num_rows,
            seconds=seconds,
            files={name: FileStamp.of(stamp) for name, stamp in files.items()},
        )
        self.files.write(keys.block(run, layer, "manifest.json"), manifest.model_dump_json(indent=1).encode())
        return manifest

    def drop_block(self, run: str, layer: int) -> None:
        """Make a block unfinished again and remove what is left of it, a killed writer's half files included."""
        # First the manifest: without it the rest does not exist.
        self.files.delete(keys.block(run, layer, "manifest.json"))
        self.files.delete(keys.block(run, layer))
        self.forget(run)

    def read_inputs(self, run: str, layer: int) -> bytes:
        """The safetensors file of a finished block's inputs. Raises CorruptStore."""
        return self._checked(run, layer, INPUTS)

    def read_block_scores(self, run: str, layer: int) -> pa.Table:
        """The scores of a finished block (`scores.SCHEMA`). Raises CorruptStore."""
        return from_parquet(self._checked(run, layer, "scores.parquet"))

    def verify_block(self, run: str, layer: int) -> list[str]:
        """Keys of the block's files that are missing or differ from their checksums."""
        manifest = self.block_manifest(run, layer)
        if manifest is None:
            return [keys.block(run, layer, "manifest.json")]
        found = ((keys.block(run, layer, name), stamp) for name, stamp in manifest.files.items())
        return [key for key, stamp in found if not stamp.matches(self.files.stamp(key))]

    def verify(self, run: str) -> list[str]:
        """Keys of all files of the run that are missing or differ from their checksums; empty when it is sound."""
        self.forget(run)
        manifest = self.manifest(run)
        damaged = []
        for name, stamp in (manifest.files if manifest else {}).items():
            if not stamp.matches(self.files.stamp(keys.run(run, name))):
                damaged.append(keys.run(run, name))
        for layer in self.blocks_done(run):
            damaged += self.verify_block(run, layer)
        return sorted(set(damaged))

    def finish(self, run: str, seconds: float, peak_bytes: int | None = None) -> RunManifest:
        """Join the blocks' scores, rank them, and write the run's manifest: from here on the run is finished."""
        record, facts = self.record(run), self.facts(run)
        blocks = [self.block_manifest(run, layer) for layer in range(record.model.blocks)]
        done = [block for block in blocks if block is not None]
        if facts is None or len(done) != len(blocks):
            raise CorruptStore(f"{len(blocks) - len(done)} blocks of run '{run}' are missing.", hint=_HINT)
        table = pa.concat_tables(self.read_block_scores(run, block.layer) for block in done)
        projections = [p.name for p in record.model.projections]
        table = scores.ranked(table, projections, record.request.top_share)
        stamps = {
            "scores.parquet": FileStamp.of(
                self.files.write(keys.run(run, "scores.parquet"), to_parquet(table))
            )
        }
        names = ["request.json", "facts.json", "tokens.parquet"]
        names += [keys.block(run, b.layer, "manifest.json").removeprefix(f"{keys.run(run)}/") for b in done]
        for name in names:
            stamp = self.files.stamp(keys.run(run, name))
            if stamp is None:
                raise CorruptStore(f"'{keys.run(run, name)}' is missing.", hint=_HINT)
            stamps[name] = FileStamp.of(stamp)
        manifest = RunManifest(
            finished_at=datetime.now(UTC),
            neurons=table.num_rows,
            seconds=seconds + sum(block.seconds for block in done),
            peak_bytes=peak_bytes,
            facts=facts,
            files=stamps,
        )
        self.files.write(keys.run(run, "manifest.json"), manifest.model_dump_json(indent=1).encode())
        self.forget(run)
        return manifest

    def _checked(self, run: str, layer: int, name: str) -> bytes:
        manifest, key = self.block_manifest(run, layer), keys.block(run, layer, name)
        if manifest is None:
            raise NotFound(f"Block {layer} of run '{run}' is not finished.", hint="Submit the run to go on.")
        data = self.files.read(key)
        if data is None or not manifest.files[name].matches_bytes(data):
            state = "is missing" if data is None else "does not match its checksum"
            raise CorruptStore(f"'{key}' {state}.", hint=_HINT)
        return data
