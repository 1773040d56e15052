"""The part of the map in the address, and the part that a drag asks for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from frontend.zoom import Zoom, dragged

SHOWN: dict[str, Any] = {
    "panels": ["gate_proj", "down_proj"],
    "log": False,
    "zoomed": False,
    "blocks": [0, 5],
    "ranks": {"gate_proj": [1, 96], "down_proj": [1, 40]},
}


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ({}, {}),
        ({"blocks": "2-4"}, {"first_layer": 2, "last_layer": 4}),
        ({"ranks": "1-1"}, {"first_rank": 1, "last_rank": 1}),
        ({"blocks": "4-2", "ranks": "a-b"}, {}),
        ({"blocks": "1234567890-1234567891"}, {}),
    ],
)
def test_a_part_is_read_from_the_address(query: dict[str, str], part: dict[str, int]) -> None:
    assert Zoom.read(query).part == part


def test_a_part_is_said_in_words() -> None:
    assert Zoom((2, 4), (1, 2000)).words == "blocks 2 to 4, ranks 1 to 2,000"


@pytest.mark.parametrize(
    ("relayout", "changes"),
    [
        (None, None),
        ({"autosize": True}, None),
        ({"yaxis.range[0]": 1.6, "yaxis.range[1]": 4.4}, {"blocks": "2-4"}),
        ({"yaxis.range[0]": 3.1, "yaxis.range[1]": 3.3}, {"blocks": "3-3"}),
        ({"xaxis2.range[0]": 1.7, "xaxis2.range[1]": 9.2}, {"ranks": "2-9", "projection": "down_proj"}),
        ({"xaxis2.range[0]": -7.0, "xaxis2.range[1]": 70.0, "yaxis.range[0]": -1, "yaxis.range[1]": 9}, None),
        ({"xaxis.autorange": True}, None),
    ],
)
def test_a_drag_asks_for_the_whole_rows_and_ranks_in_it(
    relayout: dict[str, Any] | None, changes: dict[str, str] | None
) -> None:
    assert dragged(relayout, SHOWN) == changes


def test_a_drag_over_logarithmic_ranks() -> None:
    relayout = {"xaxis.range[0]": math.log10(9.5), "xaxis.range[1]": math.log10(31.4)}
    assert dragged(relayout, SHOWN | {"log": True}) == {"ranks": "10-31", "projection": "gate_proj"}


def test_a_double_click_leads_back_to_the_whole() -> None:
    back = dragged({"xaxis.autorange": True, "yaxis.autorange": True}, SHOWN | {"zoomed": True})
    assert back == {"blocks": None, "ranks": None}
