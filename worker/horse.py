"""One job's process, started by `worker.engine` with everything it needs in its environment."""

from __future__ import annotations

import os
import sys

from rq.executions import Execution
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer

from app.live import LiveKeys, connect
from app.logging import configure
from app.settings import Settings
from worker import guard
from worker.engine import Engine


def main() -> None:
    """Rebuild the worker's and the job's records and perform the job; never returns."""
    parent = int(os.environ["WASSERSCOPE_WORKER_PID"])
    guard.die_with_parent(parent)
    settings = Settings()
    configure(settings)
    connection = connect(settings.redis_url or "")
    engine = Engine.find_by_key(
        f"{Engine.redis_worker_namespace_prefix}{os.environ['RQ_WORKER_ID']}",
        connection=connection,
        serializer=JSONSerializer,
    )
    if engine is None:
        sys.exit(1)  # the worker's record is gone: it sees the exit status and decides
    job = Job.fetch(os.environ["RQ_JOB_ID"], connection=connection, serializer=JSONSerializer)
    engine.equip(settings, LiveKeys(job.origin), {})
    execution = Execution.fetch(os.environ["RQ_EXECUTION_ID"], job.id, connection=connection)
    execution._job = job
    engine.execution = execution
    own = connect(settings.redis_url or "")
    cancel = engine.keys.cancel(job.id)
    guard.Watchdog(parent, lambda: bool(own.exists(cancel)), settings.cancel_grace_seconds).start()
    queue = Queue(job.origin, connection=connection, serializer=JSONSerializer)
    engine.main_work_horse(job, queue)


if __name__ == "__main__":
    main()
