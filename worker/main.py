"""`python -m worker.main`: one RQ worker on one device, until SIGTERM or SIGINT. Settings come from the environment."""

from __future__ import annotations

import logging
import os
import platform
import re
import signal
import sys
import threading
import uuid
from dataclasses import asdict
from importlib.metadata import version
from types import FrameType

from redis.exceptions import RedisError
from rq.serializers import JSONSerializer

from app.errors import QueueUnavailable, WasserscopeError
from app.live import LiveKeys, connect, queue_name
from app.logging import configure
from app.settings import Settings
from app.store import Store
from worker import device
from worker.engine import BEAT_TTL_SECONDS, MAINTENANCE_SECONDS, Engine

logger = logging.getLogger("wasserscope.worker")

RETRY_SECONDS = 1.0


def main() -> int:
    """Run the worker; the exit status."""
    settings = Settings()
    configure(settings)
    stop = threading.Event()
    _listen(stop)
    try:
        serve(settings, stop)
    except WasserscopeError as error:
        logger.error("%s %s", error.detail, error.hint)
        return 1
    return 0


def serve(settings: Settings, stop: threading.Event) -> None:
    """Work until told to stop. When Redis goes away, wait for it and start over."""
    if settings.redis_url is None:
        raise QueueUnavailable("No Redis is configured.", hint="Set WASSERSCOPE_REDIS_URL.")
    queue = queue_name(Store(settings.store).id)
    info = device.describe(settings)
    about = {name: str(value) for name, value in asdict(info).items()} | {"version": version("wasserscope")}
    logger.info("worker on %s, %.0f GFLOP/s, queue %s", info.device, info.gflops, queue)
    told = False
    while not stop.is_set():
        try:
            connect(settings.redis_url).ping()
            # RQ blocks on this one for up to MAINTENANCE_SECONDS at a time.
            connection = connect(settings.redis_url, timeout_seconds=MAINTENANCE_SECONDS + 10)
            engine = Engine(
                [queue],
                name=_name(),
                connection=connection,
                serializer=JSONSerializer,
                worker_ttl=BEAT_TTL_SECONDS,
                maintenance_interval=MAINTENANCE_SECONDS,
                default_result_ttl=settings.job_ttl_seconds,
            ).equip(settings, LiveKeys(queue), about)
            told = False
            engine.work(logging_level=None)
            if engine.stopping:
                return
        except (RedisError, OSError) as error:
            if not told:
                logger.warning("Redis does not answer (%s); waiting for it", error)
            told = True
        finally:
            # RQ's own handlers end with its loop; until the next one ours must hold.
            _listen(stop)
        stop.wait(RETRY_SECONDS)


def _listen(stop: threading.Event) -> None:
    def end(signum: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


def _name() -> str:
    """A name no other worker has, nor this one had before: RQ refuses a name whose record still lives."""
    host = re.sub(r"[^A-Za-z0-9-]+", "-", platform.node()) or "host"
    return f"{host}-{os.getpid()}-{uuid.uuid4().hex[:4]}"


if __name__ == "__main__":
    sys.exit(main())
