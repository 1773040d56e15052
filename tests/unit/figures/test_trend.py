"""WD by depth and the share above a common WD, compared with the summaries they were made from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from frontend import theme
from frontend.components.share import same_wd, wanted_wd
from frontend.figures import trend
from tests.unit.figures import fake_client as fake

UP = [fake.counted(layer, "up_proj", 0.1) for layer in range(fake.BLOCKS)]


def test_the_trend_shows_median_quartiles_and_threshold_by_depth() -> None:
    low, high, median, threshold = trend.trend_figure(UP, fake.FLOOR, 0.03).data
    assert list(low.y) == [layer.wd_q25 for layer in UP]
    assert list(high.y) == [layer.wd_q75 for layer in UP]
    assert high.fill == "tonexty"
    assert list(median.y) == [layer.wd_median for layer in UP]
    assert list(threshold.y) == [layer.threshold for layer in UP]
    assert list(median.x) == list(range(fake.BLOCKS))


def test_the_trend_has_a_panel_per_projection_and_the_floor_in_each() -> None:
    layers = [fake.summary(layer, name) for layer in range(fake.BLOCKS) for name in fake.NEURONS]
    figure = trend.trend_figure(layers, fake.FLOOR, 0.03)
    assert len(figure.data) == 4 * len(fake.NEURONS)
    assert [shape.y0 for shape in figure.layout.shapes] == [fake.FLOOR] * len(fake.NEURONS)


def test_the_share_is_percent_of_each_layer() -> None:
    figure = trend.share_figure(UP, 0.03)
    above = [sum((row.wd or 0) >= 0.1 for row in fake.rows(layer, "up_proj")) for layer in range(fake.BLOCKS)]
    assert list(figure.data[0].y) == pytest.approx([100 * count / 96 for count in above])
    assert figure.layout.shapes[0].y0 == pytest.approx(3)
    words = trend.share_summary(UP, 0.1)
    assert words.startswith(f"{sum(above)} of {96 * fake.BLOCKS} neurons, ")
    assert f"in block {above.index(max(above))} up_proj" in words


def test_the_wasserstein_neurons_are_counted_over_all_layers() -> None:
    words = trend.wasserstein_summary(UP, 0.03)
    assert f"the top 3 % of each layer by WD: {3 * fake.BLOCKS} in all" in words
    nothing = [UP[0].model_copy(update={"threshold": None, "wd_max": None})]
    assert trend.wasserstein_summary(nothing, 0.03) == "No layer has Wasserstein neurons."
    assert trend.trend_summary(nothing) == "No layer has a WD yet."


@pytest.mark.parametrize(
    ("text", "wd"), [("0.25", 0.25), ("0", 0.0), ("-1", None), ("nan", None), ("x", None)]
)
def test_a_wd_in_the_address_is_taken_where_it_is_one(text: str, wd: float | None) -> None:
    usual = sorted(layer.threshold or 0 for layer in UP)
    middle = float(f"{(usual[2] + usual[3]) / 2:.3g}")
    assert wanted_wd({"wd": text}, "wd", UP) == (middle if wd is None else wd)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(0.102, 0.102, True), (0.1, 0.1004, True), (0.1, 0.102, False), (0.5, 0.9, True)],
)
def test_a_slider_of_200_places_shows_both_at_the_same(one: float, other: float, same: bool) -> None:
    assert same_wd(one, other, most=0.4) is same


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s ago"),
        (12, "12 s ago"),
        (300, "5 min ago"),
        (7300, "2 h ago"),
        (90_000, "1 day ago"),
        (4e5, "4 days ago"),
    ],
)
def test_the_age_of_a_run_is_for_people(seconds: float, text: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert theme.age(now - timedelta(seconds=seconds), now) == text
