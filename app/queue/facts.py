"""What stays the same about a job while it lives, as Redis keeps it beside the live state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from app.live import part_names
from app.queue.work import Work


@dataclass(frozen=True)
class Facts:
    """A job's facts. It has one or several parts; each is one job of RQ's."""

    job: str
    kind: str
    run: str
    subject: str | None
    title: str
    parts: int
    created_at: datetime
    blocks: tuple[int, ...] = ()
    """Blocks of each part; empty where nobody knows before it starts."""
    first: tuple[int, str] | None = None
    """The first layer it makes; None for all of the model."""

    @classmethod
    def of(cls, work: Work, now: datetime) -> Facts:
        """The facts of work that is submitted `now`."""
        parts = len(work.parts)
        return cls(
            work.job_id, work.kind, work.run, work.subject, work.title, parts, now, work.blocks, work.first
        )

    @classmethod
    def read(cls, job: str, raw: Mapping[str, str]) -> Facts | None:
        """From the hash in Redis; None when it is empty, that is, gone."""
        if not raw:
            return None
        return cls(
            job=job,
            kind=raw["kind"],
            run=raw["run"],
            subject=raw["subject"] or None,
            title=raw["title"],
            parts=int(raw["parts"]),
            created_at=datetime.fromtimestamp(float(raw["created_at"]), UTC),
            blocks=tuple(int(count) for count in raw.get("blocks", "").split()),
            first=(int(raw["layer"]), raw["projection"]) if raw.get("layer") else None,
        )

    def fields(self) -> dict[str, str]:
        """The hash in Redis."""
        return {
            "kind": self.kind,
            "run": self.run,
            "subject": self.subject or "",
            "title": self.title,
            "parts": str(self.parts),
            "created_at": repr(self.created_at.timestamp()),
            "blocks": " ".join(map(str, self.blocks)),
            "layer": str(self.first[0]) if self.first else "",
            "projection": self.first[1] if self.first else "",
        }

    @property
    def names(self) -> list[str]:
        """Ids of the parts."""
        return part_names(self.job, self.parts)
