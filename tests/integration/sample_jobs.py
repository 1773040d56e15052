"""Jobs for tests of the queue and the worker: they do nothing but behave well or badly, as `<store>/behave` says.

Enqueued in place of the workers' own functions: same first argument, same surroundings. A part of a job with several has
its name as the second argument and behaves as `<store>/behave-<name>` says, if it is there.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from app.errors import CorpusError
from app.settings import Settings
from app.store import Store
from worker.jobs.live import live_progress

WAIT_SECONDS = 150.0


def sample(run: str, part: str = "") -> None:
    """Do what the file says: wait for `<store>/go` (or `go-<part>`), end, fail, raise, die, or hang without looking for
    a cancel.
    """
    settings = Settings()
    folder = Path(settings.store)
    own = folder / f"behave-{part}"
    behave = (own if own.exists() else folder / "behave").read_text()
    with (folder / "started").open("a") as file:
        file.write(f"{os.getpid()}\n")
    with live_progress(settings, Store(settings.store).id, "cpu") as progress:
        progress.log(f"{behave} begins")
        progress.check()
        if behave == "fail":
            raise CorpusError("The text is too short.", hint="Post a longer one.")
        if behave == "raise":
            raise ZeroDivisionError("secret inner detail")
        if behave == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        end = time.monotonic() + WAIT_SECONDS
        while not any((folder / name).exists() for name in ("go", f"go-{part}")) and time.monotonic() < end:
            progress.phase("waiting")
            progress.advance(0.25, block=1, blocks=4, tokens=10)
            if behave != "hang":
                progress.check()
            time.sleep(0.02)
    (folder / "ended").touch()
