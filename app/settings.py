"""All settings, read once from the environment (prefix `WASSERSCOPE_`) and passed down; units are in the names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_DATA = Path(platformdirs.user_data_dir("wasserscope"))
_CACHE = Path(platformdirs.user_cache_dir("wasserscope"))


class Settings(BaseSettings):
    """Frozen settings of one Wasserscope instance. Two instances differ by `port` and `store` alone."""

    model_config = SettingsConfigDict(env_prefix="WASSERSCOPE_", frozen=True, extra="ignore")

    host: str = Field(
        "127.0.0.1", description="Address the web server listens on; any other than loopback needs `token`."
    )
    port: int = Field(8000, ge=1, le=65535, description="Port of the web server: dashboard and API.")
    store: str = Field(
        str(_DATA / "store"),
        description="Where runs are kept: a folder or an fsspec URL (`s3://bucket/prefix`).",
    )
    redis_url: str | None = Field(
        None,
        description="Redis or Valkey of the job queue. Without it (`REDIS_URL` is read too) `wasserscope up` starts an embedded Valkey.",
    )
    token: SecretStr | None = Field(
        None, description="When set, every request needs it: bearer header or the cookie of the login page."
    )
    device: str = Field("auto", description="Device of a worker: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.")
    model_root: Path | None = Field(
        None, description="Folder below which `path:` and `gguf:` models may lie."
    )
    corpus_root: Path | None = Field(None, description="Folder below which `file:` corpora may lie.")
    cache: Path = Field(_CACHE, description="Local folder for converted models; may be deleted at any time.")
    workers: int = Field(1, ge=0, le=64, description="How many workers `wasserscope up` starts.")
    threads: int = Field(0, ge=0, description="CPU threads of a worker; 0 means all cores.")
    batch_tokens: int = Field(
        4096, ge=1, description="Tokens that go through a block at once. Changes memory, not results."
    )
    chunk_mebibytes: int = Field(
        256,
        ge=1,
        description="Memory for one chunk of neurons' outputs while scoring, in MiB. Changes memory, not results.",
    )
    memory_limit_mebibytes: int = Field(
        0, ge=0, description="Address space limit of a job's process on CPU, in MiB; 0 means none."
    )
    max_tokens: int = Field(4_194_304, ge=1, description="Largest number of tokens a run may ask for.")
    max_body_mebibytes: int = Field(16, ge=1, description="Largest request body, in MiB.")
    max_page: int = Field(1000, ge=1, description="Largest `limit` of a list.")
    cancel_grace_seconds: float = Field(
        8.0, gt=0, description="How long a cancelled job may take to stop by itself before it is killed."
    )
    job_timeout_seconds: int = Field(14 * 24 * 3600, gt=0, description="Longest time a job may run.")
    job_ttl_seconds: int = Field(
        7 * 24 * 3600,
        gt=0,
        description="How long the record of an ended job is kept in Redis. Results live in the store.",
    )
    max_tries: int = Field(3, ge=1, description="How often a job whose worker died is tried before it fails.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )
    log_json: bool = Field(False, description="Log lines as JSON instead of text.")

    def __init__(self, **values: Any) -> None:
        if (
            "redis_url" not in values
            and "WASSERSCOPE_REDIS_URL" not in os.environ
            and os.environ.get("REDIS_URL")
        ):
            values["redis_url"] = os.environ["REDIS_URL"]
        super().__init__(**values)

    @field_validator("store")
    @classmethod
    def _absolute_store(cls, value: str) -> str:
        return value if "://" in value else str(Path(value).expanduser().resolve())

    @property
    def loopback(self) -> bool:
        """Whether the web server is reachable from this machine alone."""
        return self.host in {"127.0.0.1", "localhost", "::1"}

    def to_env(self) -> dict[str, str]:
        """The environment that gives a child process these very settings."""
        env: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            if value is not None:
                env[f"WASSERSCOPE_{name.upper()}"] = (
                    str(value).lower() if isinstance(value, bool) else str(value)
                )
        return env
