"""The progress of the job that this process performs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from app.live import LiveKeys, connect, queue_name
from app.settings import Settings
from worker.progress import LiveProgress


@contextlib.contextmanager
def live_progress(settings: Settings, store_id: str, device: str) -> Iterator[LiveProgress]:
    """Progress of the job named in the environment (`worker.engine` sets it), which this process now owns."""
    connection = connect(settings.redis_url or "")
    progress = LiveProgress(
        connection,
        LiveKeys(queue_name(store_id)),
        os.environ["RQ_JOB_ID"],
        owner=os.environ["RQ_EXECUTION_ID"],
        ttl_seconds=settings.job_ttl_seconds,
    )
    progress.begin(device)
    try:
        yield progress
    finally:
        progress.close()
        connection.close()
