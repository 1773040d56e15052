"""The store's identity, posted texts, and runs as records: made, listed, deleted."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

from app.errors import CorruptStore, NotFound, StoreError
from app.schemas.corpus import Corpus, CorpusText
from app.schemas.health import Part
from app.schemas.page import Page
from app.schemas.run import Run, RunModel, RunRequest, RunState
from app.store import keys
from app.store.cache import Cache
from app.store.files import Files
from app.store.manifest import BlockManifest, RunFacts, RunManifest, RunRecord
from app.store.parsing import parsed


class Records:
    """What is known of each run without its numbers."""

    def __init__(self, url: str) -> None:
        self.files = Files(url)
        self._id: str | None = None
        self._records: Cache[RunRecord] = Cache(512)
        self._manifests: Cache[RunManifest] = Cache(512)
        self._blocks: Cache[BlockManifest] = Cache(4096)

    @property
    def id(self) -> str:
        """The store's identity, 32 hex digits, made at its first use. Raises StoreError."""
        if self._id is None:
            fresh = {"id": uuid.uuid4().hex, "format": keys.FORMAT}
            raw = self.files.read(keys.STORE)
            if raw is None:
                self.files.create(keys.STORE, json.dumps(fresh).encode())
                raw = self.files.read(keys.STORE)
            try:
                found = json.loads(raw or b"")
                identity, version = str(found["id"]), int(found["format"])
            except (ValueError, KeyError, TypeError) as error:
                raise CorruptStore(
                    f"'{keys.STORE}' in the store at {self.files.url} is not readable: {error}.",
                    hint="Restore the file, or set WASSERSCOPE_STORE to another place.",
                ) from error
            if version != keys.FORMAT:
                raise StoreError(
                    f"The store at {self.files.url} has format {version}; this version reads {keys.FORMAT}.",
                    hint="Use the version that made it, or set WASSERSCOPE_STORE to another place.",
                )
            self._id = identity
        return self._id

    def check(self) -> Part:
        """Whether the store can be read and written right now."""
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            _ = self.id
            self.files.write(probe, b"ok")
            self.files.delete(probe)
        except StoreError as error:
            return Part(ok=False, detail=error.detail)
        return Part(ok=True, detail=self.files.url)

    def put_text(self, text: CorpusText) -> Corpus:
        """Keep a posted text; the same text always gets the same name."""
        digest = keys.text_digest(text.text)
        kept = {"title": text.title, "characters": len(text.text), "text": text.text}
        self.files.write(keys.text(digest), json.dumps(kept).encode())
        return Corpus(name=f"text:{digest}", title=text.title, kind="text", characters=len(text.text))

    def text(self, digest: str) -> CorpusText:
        """A posted text with its title, by the digits after `text:`."""
        raw = self.files.read(keys.text(digest))
        if raw is None:
            raise NotFound(
                f"There is no text '{digest}'.", hint="Post it again: POST /api/v1/corpora gives its name."
            )
        return CorpusText.model_construct(
            **{k: v for k, v in json.loads(raw).items() if k in ("title", "text")}
        )

    def read_text(self, digest: str) -> str:
        """The characters of a posted text."""
        return self.text(digest).text

    def texts(self) -> list[Corpus]:
        """All posted texts."""
        found = []
        for name in self.files.names(keys.TEXTS):
            raw = self.files.read(f"{keys.TEXTS}/{name}")
            if raw is not None and name.endswith(".json"):
                kept = json.loads(raw)
                found.append(
                    Corpus(
                        name=f"text:{name.removesuffix('.json')}",
                        title=kept["title"],
                        kind="text",
                        characters=kept["characters"],
                    )
                )
        return found

    def create_run(
        self, request: RunRequest, model: RunModel, corpus_title: str = "", corpus_fingerprint: str = ""
    ) -> str:
        """The id of the run of `request` on this very model and text; its record is written if there is none yet.

        `corpus_fingerprint`: of the text, where it is at hand; without one the corpus' name stands for its content.
        """
        run = keys.run_id(request, model.title, model.fingerprint, corpus_fingerprint)
        record = RunRecord(
            request=request,
            model=model,
            corpus_title=corpus_title,
            corpus_fingerprint=corpus_fingerprint,
            created_at=datetime.now(UTC),
        )
        self.files.create(keys.run(run, "request.json"), record.model_dump_json(indent=1).encode())
        return run

    def record(self, run: str) -> RunRecord:
        """What was asked for. Raises NotFound."""

        def load() -> RunRecord:
            raw = self.files.read(keys.run(run, "request.json"))
            if raw is None:
                raise NotFound(f"There is no run '{run}'.", hint="GET /api/v1/runs lists the runs.")
            return parsed(RunRecord, raw, keys.run(run, "request.json"))

        return self._records.get((run,), load)

    def manifest(self, run: str) -> RunManifest | None:
        """The manifest of a finished run; None while it is not finished."""

        def load() -> RunManifest:
            raw = self.files.read(keys.run(run, "manifest.json"))
            if raw is None:
                raise FileNotFoundError(run)
            return parsed(RunManifest, raw, keys.run(run, "manifest.json"))

        try:
            return self._manifests.get((run,), load)
        except FileNotFoundError:
            return None

    def facts(self, run: str) -> RunFacts | None:
        """What is known before the first block; None when the run has not got that far."""
        manifest = self.manifest(run)
        if manifest is not None:
            return manifest.facts
        raw = self.files.read(keys.run(run, "facts.json"))
        return None if raw is None else parsed(RunFacts, raw, keys.run(run, "facts.json"))

    def block_manifest(self, run: str, layer: int) -> BlockManifest | None:
        """The manifest of a finished block; None when it is not finished."""

        def load() -> BlockManifest:
            raw = self.files.read(keys.block(run, layer, "manifest.json"))
            if raw is None:
                raise FileNotFoundError(layer)
            return parsed(BlockManifest, raw, keys.block(run, layer, "manifest.json"))

        try:
            return self._blocks.get((run, layer), load)
        except FileNotFoundError:
            return None

    def blocks_done(self, run: str) -> list[int]:
        """Numbers of the blocks that are finished, in order."""
        blocks = self.record(run).model.blocks
        if self.manifest(run) is not None:
            return list(range(blocks))
        named = [int(name) for name in self.files.names(keys.run(run, "blocks")) if name.isdecimal()]
        return [layer for layer in sorted(named) if self.block_manifest(run, layer) is not None]

    def run(self, run: str) -> Run:
        """The run as the store alone knows it: finished or incomplete. Raises NotFound."""
        record, manifest, facts = self.record(run), self.manifest(run), self.facts(run)
        done = self.blocks_done(run)
        planned = record.model.blocks * sum(p.out_features for p in record.model.projections)
        return Run(
            id=run,
            state=RunState.finished if manifest else RunState.incomplete,
            request=record.request,
            model=record.model,
            corpus_title=record.corpus_title,
            created_at=record.created_at,
            finished_at=manifest.finished_at if manifest else None,
            blocks_done=len(done),
            neurons=manifest.neurons if manifest else planned,
            tokens=facts.tokens if facts else 0,
            pairs=facts.pairs if facts else 0,
            gaussian_floor=facts.gaussian_floor if facts else None,
            seconds=manifest.seconds if manifest else None,
            device=facts.device if facts else None,
            peak_bytes=manifest.peak_bytes if manifest else None,
            versions=facts.versions if facts else {},
        )

    def runs(self, limit: int, offset: int) -> Page[Run]:
        """Runs, the newest first."""
        found = []
        for name in self.files.names(keys.RUNS):
            try:
                found.append((self.record(name).created_at, name))
            except NotFound:  # a folder left over from a deletion that was cut off
                continue
        found.sort(reverse=True)
        items = [self.run(name) for _, name in found[offset : offset + limit]]
        return Page(items=items, total=len(found), limit=limit, offset=offset)

    def delete_run(self, run: str) -> None:
        """Remove a run and all its artifacts. Raises NotFound."""
        self.record(run)
        # In this order a cut-off deletion never leaves a run that looks finished.
        self.files.delete(keys.run(run, "manifest.json"))
        self.files.delete(keys.run(run, "request.json"))
        self.files.delete(keys.run(run))
        self.forget(run)

    def forget(self, run: str) -> None:
        """Drop what is cached of a run."""
        for cache in (self._records, self._manifests, self._blocks):
            cache.forget(run)
