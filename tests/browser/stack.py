"""The real thing for browser tests: Valkey, `python -m frontend.main`, `python -m worker.main`, a tiny random model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.client import Client
from app.schemas.run import RunRequest
from app.settings import Settings
from tests import processes
from tests.integration.conftest import ROOT, Valkey, Worker, wait_for
from tests.unit.tiny import save_tiny

MODEL = "path:tiny-llama"
REQUEST = RunRequest(model=MODEL, tokens=2048, window=64)


class Stack:
    """One Wasserscope on a store in `folder`; without a worker until one is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.valkey = Valkey()
        models = folder / "models"
        save_tiny("llama", models / "tiny-llama", blocks=4, intermediate_size=96)
        self.settings = Settings(
            store=str(folder / "store"),
            redis_url=self.valkey.url,
            cache=folder / "cache",
            port=processes.free_port(),
            device="cpu",
            threads=1,
            model_root=models,
        )
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self._workers: list[Worker] = []
        self._server: subprocess.Popen[bytes] | None = None
        self.start_server()

    def start_server(self) -> None:
        """Start the web server and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self._server = processes.start(
                [sys.executable, "-m", "frontend.main"],
                log,
                cwd=ROOT,
                env={**os.environ, **self.settings.to_env()},
            )
        wait_for(self._answers, 60, "the web server to answer")

    def stop_server(self, seconds: float = 15) -> int:
        """End it as a supervisor would; its exit code."""
        if self._server is None:
            return 0
        self._server.terminate()
        try:
            return self._server.wait(seconds)
        finally:
            self._server.kill()
            self._server = None

    def start_worker(self) -> None:
        """Start a worker; it looks for jobs by itself."""
        self._workers.append(Worker(self.settings, self.folder / "worker.log"))

    def log(self) -> str:
        """What the server has written."""
        return (self.folder / "server.log").read_text(errors="replace")

    def explore(self, request: RunRequest = REQUEST) -> str:
        """A finished run of `request`."""
        with Client(self.url) as client:
            submitted = client.submit(request)
            if submitted.job is not None:
                last = list(client.events(submitted.job.id))[-1]
                assert last.state == "finished", last.problem
            return submitted.run.id

    def close(self) -> None:
        """End every process."""
        for worker in self._workers:
            worker.close()
        self.stop_server()
        self.valkey.close()

    def _answers(self) -> bool:
        if self._server is not None and self._server.poll() is not None:
            pytest.fail(f"the web server ended with {self._server.returncode}:\n{self.log()[-4000:]}")
        try:
            return httpx.get(f"{self.url}/api/v1/health", timeout=5).is_success
        except httpx.TransportError:
            return False
