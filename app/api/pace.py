"""How fast the live workers are: what estimates of time rest on."""

from __future__ import annotations

from app.api.deps import Service
from app.catalog import Pace
from app.errors import QueueUnavailable


def pace(service: Service) -> Pace:
    """The rate of the fastest live worker and how many there are; nothing when none lives or Redis does not answer."""
    try:
        workers = service.queue.workers() if service.queue is not None else []
    except QueueUnavailable:
        workers = []
    best = max(workers, key=lambda worker: worker.gflops, default=None)
    return Pace(best.gflops if best else 0.0, best.device if best else "", len(workers))
