"""The made-up run of many neurons: the store's own format, and numbers that fit each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from app.schemas.neuron import NeuronQuery
from app.store import Store
from benchmarks import synthetic

SMALL = synthetic.model(blocks=2, d_model=48, d_ff=150)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    store = Store(str(tmp_path_factory.mktemp("synthetic")))
    return store, synthetic.make(store, SMALL, processes=1)


def test_the_full_one_has_more_than_1_4_million_neurons() -> None:
    made = synthetic.model()
    assert made.blocks * sum(p.out_features for p in made.projections) == 1_441_792
    assert {p.out_features for p in made.projections} == {14336, 4096}


def test_it_is_sound_and_the_same_every_time(big: tuple[Store, str], tmp_path: Path) -> None:
    store, run = big
    assert store.verify(run) == []
    assert store.run(run).neurons == 2 * (48 + 2 * 150)
    again = Store(str(tmp_path))
    assert synthetic.make(again, SMALL, processes=1) == run
    assert again.neurons(run, NeuronQuery()).items == store.neurons(run, NeuronQuery()).items


@pytest.mark.parametrize("index", [0, 17, 149])
def test_scores_fit_the_distribution(big: tuple[Store, str], index: int) -> None:
    """Against quantiles: WD and moments by SciPy from 257 of them, so within a few percent."""
    store, run = big
    found = store.neuron(run, 1, "up_proj", index)
    spread = found.distribution
    assert sum(spread.counts) == synthetic.TOKENS
    assert (spread.low, spread.high) == pytest.approx((spread.quantiles[0], spread.quantiles[-1]))
    middle = (np.asarray(spread.quantiles[1:]) + np.asarray(spread.quantiles[:-1])) / 2
    assert found.mean == pytest.approx(middle.mean(), abs=0.02 * found.std)
    assert found.std == pytest.approx(middle.std(), rel=0.03)
    gaussian = stats.norm.ppf((np.arange(256) + 0.5) / 256)
    expected = np.abs((middle - found.mean) / found.std - gaussian).mean()
    assert found.wd == pytest.approx(expected, abs=0.02)
    assert found.tokens.high[0].value == pytest.approx(spread.high)
    assert found.tokens.low[0].value == pytest.approx(spread.low)
