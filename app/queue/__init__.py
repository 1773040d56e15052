"""The one place where the service talks to RQ."""

from app.queue.jobs import JobQueue
from app.queue.work import Kind, Work, explore_work, outputs_work

__all__ = ["JobQueue", "Kind", "Work", "explore_work", "outputs_work"]
