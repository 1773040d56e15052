"""The one place where the service talks to RQ."""

from app.queue.jobs import JobQueue

__all__ = ["JobQueue"]
