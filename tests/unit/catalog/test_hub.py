"""The hub: from a cache folder as the library lays it out, from a server that answers as the hub does, and out of reach."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app import catalog
from app.catalog import hub
from app.errors import CorruptFile, HubUnreachable, ModelNotFound, UnsafeFile
from app.settings import Settings
from tests.unit.tiny import save_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("gpt_neox", tmp_path_factory.mktemp("saved") / "model")


def fill_cache(cache: Path, saved: Path, repo: str = "org/tiny", refs: tuple[str, ...] = ("main",)) -> Path:
    """A hub cache with one repository: blobs, a snapshot of links to them, refs. Returns the snapshot."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "refs").mkdir()
    for ref in refs:
        (folder / "refs" / ref).write_text(COMMIT)
    for path in saved.iterdir():
        blob = folder / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize("download", [False, True])
def test_a_cached_model_needs_no_network(download: bool, cache: Path, saved: Path) -> None:
    snapshot = fill_cache(cache, saved)
    found = catalog.resolve("hub:org/tiny", Settings(), download=download)
    assert (found.kind, found.title, found.folder) == ("hub", "org/tiny", snapshot)
    assert found.fingerprint == f"hub-{COMMIT}"
    inspection = catalog.inspect_model(found)
    assert (inspection.family, inspection.blocks) == ("gpt_neox", 3)


@pytest.mark.parametrize("revision", ["step3000", COMMIT])
def test_a_cached_revision(revision: str, cache: Path, saved: Path) -> None:
    fill_cache(cache, saved, refs=("step3000",))
    found = catalog.resolve(f"hub:org/tiny@{revision}", Settings())
    assert (found.title, found.fingerprint) == (f"org/tiny@{revision}", f"hub-{COMMIT}")


def test_a_revision_that_is_not_cached(cache: Path, saved: Path) -> None:
    fill_cache(cache, saved)
    with pytest.raises(HubUnreachable, match="does not have 'org/tiny' at 'step9'"):
        catalog.resolve("hub:org/tiny@step9", Settings())


def test_a_snapshot_without_its_weights_is_not_a_model(cache: Path, saved: Path) -> None:
    (fill_cache(cache, saved) / "model.safetensors").unlink()
    with pytest.raises(HubUnreachable, match="the local cache does not have 'org/tiny'"):
        catalog.resolve("hub:org/tiny", Settings())
    assert hub.cached_models() == []


def test_cached_weights_that_are_cut_short(cache: Path, saved: Path) -> None:
    blob = (fill_cache(cache, saved) / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-10])
    with pytest.raises(CorruptFile, match="is not a complete safetensors file"):
        catalog.resolve("hub:org/tiny", Settings())


def test_a_cached_pickle_is_refused(cache: Path, saved: Path) -> None:
    snapshot = fill_cache(cache, saved)
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    with pytest.raises(
        UnsafeFile, match=r"'org/tiny' has its weights only as 'pytorch_model\.bin'"
    ) as caught:
        catalog.resolve("hub:org/tiny", Settings())
    assert "@refs/pr/" in caught.value.hint


def test_cached_models_are_listed(cache: Path, saved: Path) -> None:
    fill_cache(cache, saved)
    fill_cache(cache, saved, "solo")
    assert hub.cached_models() == ["org/tiny", "solo"]


@pytest.mark.parametrize("name", ["hub:a..b/c", "hub:a--b/c", "hub:org/name.git"])
def test_names_that_the_hub_cannot_have(name: str, cache: Path) -> None:
    with pytest.raises(ModelNotFound, match="is no name on the hub"):
        catalog.resolve(name, Settings())


def test_a_revision_that_climbs_is_refused(cache: Path) -> None:
    with pytest.raises(ModelNotFound, match="is no revision"):
        catalog.resolve("hub:org/tiny@../../x", Settings())


def test_without_a_network_it_fails_at_once(tmp_path: Path) -> None:
    """In a process of its own, on an address nobody answers at: neither offline mode nor a cache helps."""
    code = (
        "import time; from app import catalog; from app.settings import Settings; from app.errors import HubUnreachable\n"
        "start = time.monotonic()\n"
        "try: catalog.resolve('hub:org/tiny', Settings(), download=True)\n"
        "except HubUnreachable as error: print(error.detail, '|', error.hint, '|', time.monotonic() - start)"
    )
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_CACHE": str(tmp_path),
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=ROOT)
    detail, hint, seconds = done.stdout.split(" | ")
    assert "The hub cannot be reached" in detail
    assert "the local cache does not have 'org/tiny'" in detail
    assert "hf download org/tiny" in hint
    assert float(seconds) < 5


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as the library needs: the model's record, its files, ranges of them."""

    files: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""

    def answer(self, *, body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        path = self.path.split("?")[0]
        if re.fullmatch(r"/api/models/org/tiny(/revision/(main|v1|[0-9a-f]{40}))?", path):
            names = sorted(file.name for file in self.files.iterdir())
            record = {"id": "org/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            self.reply(200, json.dumps(record).encode(), body)
        elif tree := re.fullmatch(r"/api/models/org/tiny/tree/[^/]+", path):
            entries = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40}
                for f in self.files.iterdir()
            ]
            self.reply(200, json.dumps(entries).encode(), body and tree is not None)
        elif (found := re.fullmatch(r"/org/tiny/resolve/[^/]+/(.+)", path)) and (
            self.files / found[1]
        ).is_file():
            self.reply(200, (self.files / found[1]).read_bytes(), body)
        else:
            kind = "EntryNotFound" if "/resolve/" in path else "RepoNotFound"
            if "/revision/" in path and "/org/tiny/" in path:
                kind = "RevisionNotFound"
            self.reply(404, b"{}", body, error=kind)

    def reply(self, status: int, data: bytes, body: bool, error: str = "") -> None:
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        etag, size = hashlib.sha1(data).hexdigest(), len(data)
        if part:
            status, data = 206, data[int(part[1]) : int(part[2]) + 1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if part:
            self.send_header("Content-Range", f"bytes {part[1]}-{part[2]}/{size}")
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def served(saved: Path, tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Address of a hub with one repository, its folder, and what was asked of it."""
    files = shutil.copytree(saved, tmp_path / "files")
    (files / "modeling_own.py").write_text("raise SystemExit('this code must never be fetched')")
    asked: list[str] = []
    handler = type("Handler", (Hub,), {"files": files, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", files, asked
    server.shutdown()
    thread.join()
    server.server_close()


def ask(address: str, cache: Path, source: str, download: bool) -> str:
    """Resolve and inspect in a process of its own, as the library reads its settings once; what it printed."""
    code = (
        "import sys; from app import catalog; from app.settings import Settings; from app.errors import ModelError\n"
        "try:\n"
        f"    found = catalog.resolve({source!r}, Settings(), download={download})\n"
        "    seen = catalog.inspect_model(found)\n"
        "    print(seen.family, seen.blocks, found.fingerprint, found.folder is not None, 'torch' in sys.modules)\n"
        "except ModelError as error: print(type(error).__name__, error.detail)"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address, "HF_HUB_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_inspecting_fetches_headers_alone(served: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    address, _, _ = served
    assert ask(address, tmp_path / "hub", "hub:org/tiny", False) == f"gpt_neox 3 hub-{COMMIT} False False"
    assert not list((tmp_path / "hub").rglob("*.safetensors"))


def test_a_run_fetches_weights_and_no_code(served: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    address, files, asked = served
    (files / "pytorch_model.bin").write_bytes(b"pickle")
    assert ask(address, tmp_path / "hub", "hub:org/tiny", True) == f"gpt_neox 3 hub-{COMMIT} True False"
    fetched = {path.name for path in (tmp_path / "hub").rglob("snapshots/*/*")}
    assert fetched == {path.name for path in files.iterdir()} - {"modeling_own.py", "pytorch_model.bin"}
    before = len([line for line in asked if "/resolve/" in line])
    assert ask(address, tmp_path / "hub", "hub:org/tiny", True) == f"gpt_neox 3 hub-{COMMIT} True False"
    assert len([line for line in asked if "/resolve/" in line]) == before, "fetched a second time"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hub:org/unknown", "ModelNotFound The hub has no model 'org/unknown'."),
        ("hub:org/tiny@nothing", "ModelNotFound The hub has no revision 'nothing' of 'org/tiny'."),
    ],
)
def test_what_the_hub_does_not_have(
    source: str, message: str, served: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    assert ask(served[0], tmp_path / "hub", source, False) == message


def test_a_pickle_on_the_hub_is_refused_before_anything_is_fetched(
    served: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    address, files, asked = served
    (files / "model.safetensors").rename(files / "pytorch_model.bin")
    assert ask(address, tmp_path / "hub", "hub:org/tiny", True).startswith(
        "UnsafeFile 'org/tiny' has its weights only"
    )
    assert not [line for line in asked if "/resolve/" in line]


def test_a_hub_that_hangs_is_given_up_soon(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    import socket

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(
            "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        start = time.monotonic()
        with pytest.raises(HubUnreachable, match=r"The hub cannot be reached \(.*timed out"):
            catalog.resolve("hub:org/tiny", Settings())
        assert time.monotonic() - start < 3
