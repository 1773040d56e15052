"""Order and conditions of the table, as the address, AG Grid and the service each say them."""

from __future__ import annotations

import pytest

from frontend.components.table_view import address_of, asked_view, conditions, filter_model, table_view


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ({}, []),
        ({"wd": {"type": "greaterThanOrEqual", "filter": 0.1}}, ["wd>=0.1"]),
        ({"md": {"type": "lessThan", "filter": 2}}, ["md<2"]),
        ({"wd": {"type": "inRange", "filter": 0.1, "filterTo": 1e-5}}, ["wd>=0.1", "wd<=1e-05"]),
        (
            {"md": {"type": "equals", "filter": -1}, "index": {"type": "greaterThan", "filter": 3}},
            ["index>3", "md=-1"],
        ),
        ({"wd": {"type": "blank", "filter": None}}, []),
    ],
)
def test_conditions_go_to_the_service_and_back(model: dict[str, dict[str, object]], where: list[str]) -> None:
    assert conditions(model) == where
    assert conditions(filter_model(where)) == where
    assert table_view({"where": ",".join(where)})["where"] == where


def test_the_order_that_a_grid_asks_for_is_kept_in_the_address() -> None:
    view = asked_view({"sortModel": [{"colId": "md", "sort": "asc"}], "filterModel": {}})
    assert view == {"sort": "md", "where": []}
    assert address_of(view) == {"sort": "md", "where": None}
    assert address_of(asked_view({})) == {"sort": None, "where": None}


def test_what_is_no_order_and_no_condition_is_left_out() -> None:
    assert table_view({"sort": "; drop", "where": "wd>=0.1,nonsense,md<<2"}) == {
        "sort": "-wd",
        "where": ["wd>=0.1"],
    }
