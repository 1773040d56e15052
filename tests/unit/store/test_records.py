"""Runs as records: identity, listing, deletion, texts."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import CorruptStore, NotFound, StoreError
from app.schemas.corpus import CorpusText
from app.schemas.run import RUN_PATTERN, RunState
from app.store import Store, keys
from tests.unit.store.made import make_run, model, request


def test_identity_is_made_once_even_by_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: Store(str(tmp_path)).id, range(32)))
    assert len(ids) == 1
    assert re.fullmatch(r"[0-9a-f]{32}", ids.pop())


def test_store_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(json.dumps({"id": "a" * 32, "format": 99}))
    with pytest.raises(StoreError, match="format 99"):
        _ = Store(str(tmp_path)).id


def test_damaged_identity_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(CorruptStore, match=r"store\.json"):
        _ = Store(str(tmp_path)).id


def test_run_id_is_a_fingerprint_of_request_and_content() -> None:
    first = keys.run_id(request(), "Tiny Llama (1.0)", "abc")
    assert first.startswith("tiny-llama-1-0-")
    assert re.fullmatch(RUN_PATTERN, first)
    assert first == keys.run_id(request(), "Tiny Llama (1.0)", "abc")
    others = {
        keys.run_id(request(seed=1), "Tiny Llama (1.0)", "abc"),
        keys.run_id(request(tokens=41), "Tiny Llama (1.0)", "abc"),
        keys.run_id(request(), "Tiny Llama (1.0)", "abd"),
    }
    assert first not in others
    assert len(others) == 3
    assert re.fullmatch(RUN_PATTERN, keys.run_id(request(), "é" * 90, "abc"))


def test_create_run_is_idempotent(store: Store) -> None:
    run = store.create_run(request(), model(), "first")
    assert store.create_run(request(), model(), "second") == run
    assert store.run(run).corpus_title == "first"
    assert store.runs(10, 0).total == 1


def test_states_from_the_store_alone(store: Store) -> None:
    run = make_run(store, blocks=2)
    assert (store.run(run).state, store.run(run).blocks_done) == (RunState.incomplete, 2)
    finished = Store(store.files.url).run(make_run(store))
    assert (finished.state, finished.blocks_done, finished.neurons) == (RunState.finished, 3, 270)
    assert finished.seconds == pytest.approx(3 * 1.5 + 0.5)
    assert (finished.tokens, finished.pairs, finished.gaussian_floor, finished.peak_bytes) == (
        40,
        20,
        0.2,
        123,
    )


def test_runs_are_paged_newest_first(store: Store) -> None:
    made = [store.create_run(request(seed=seed), model()) for seed in range(5)]
    page = store.runs(2, 1)
    assert (page.total, page.limit, page.offset) == (5, 2, 1)
    assert [run.id for run in page.items] == [made[3], made[2]]


def test_delete_removes_everything(store: Store, run: str) -> None:
    store.layers(run)
    store.delete_run(run)
    assert not Path(store.files.path(f"runs/{run}")).exists()
    for gone in (store.run, store.layers, store.delete_run):
        with pytest.raises(NotFound):
            gone(run)


@pytest.mark.parametrize("evil", ["../../etc", "a/../../b", "UPPER-CASE", "", "x", "a" * 80])
def test_an_id_never_becomes_a_path(store: Store, evil: str) -> None:
    with pytest.raises(NotFound):
        store.run(evil)
    with pytest.raises(NotFound):
        store.read_text(evil)


def test_texts(store: Store) -> None:
    kept = store.put_text(CorpusText(text="Call me Ishmael.", title="Moby"))
    assert store.put_text(CorpusText(text="Call me Ishmael.", title="Moby")) == kept
    assert re.fullmatch(r"text:[0-9a-f]{16}", kept.name)
    assert store.texts() == [kept]
    assert store.read_text(kept.name.removeprefix("text:")) == "Call me Ishmael."
    with pytest.raises(NotFound):
        store.read_text("0" * 16)
