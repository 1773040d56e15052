"""What the table of neurons shows, as the address, the service and AG Grid each say it: order and conditions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from app.schemas.neuron import CONDITION_PATTERN, SORT_PATTERN

DEFAULT_SORT = "-wd"
FILTERS = {
    "greaterThanOrEqual": ">=",
    "lessThanOrEqual": "<=",
    "greaterThan": ">",
    "lessThan": "<",
    "equals": "=",
}
"""AG Grid's comparisons and the service's."""
RANGE = "inRange"
NUMBER_FILTER: dict[str, Any] = {
    "filter": "agNumberColumnFilter",
    "filterParams": {
        "filterOptions": [*FILTERS, RANGE],
        "inRangeInclusive": True,
        "maxNumConditions": 1,
        "buttons": ["apply", "reset"],
        "closeOnApply": True,
    },
}


class TableView(TypedDict):
    """Order and conditions."""

    sort: str
    where: list[str]


def table_view(query: Mapping[str, str]) -> TableView:
    """The order and the conditions that an address names; what is neither is left out."""
    sort = query.get("sort", DEFAULT_SORT)
    where = [part for part in query.get("where", "").split(",") if re.match(CONDITION_PATTERN, part)]
    return {"sort": sort if re.match(SORT_PATTERN, sort) else DEFAULT_SORT, "where": where}


def address_of(view: TableView) -> dict[str, str | None]:
    """Entries of the query that name a view; None for what is as usual."""
    return {
        "sort": None if view["sort"] == DEFAULT_SORT else view["sort"],
        "where": ",".join(view["where"]) or None,
    }


def asked_view(request: Mapping[str, Any]) -> TableView:
    """The order and the conditions of the rows that a grid asks for."""
    model = request.get("sortModel") or [{"colId": DEFAULT_SORT[1:], "sort": "desc"}]
    sign = "-" if model[0]["sort"] == "desc" else ""
    return {"sort": f"{sign}{model[0]['colId']}", "where": conditions(request.get("filterModel") or {})}


def conditions(model: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The conditions of AG Grid's `filterModel`."""
    found = []
    for column, given in sorted(model.items()):
        if given.get("filter") is None:
            continue
        if given["type"] == RANGE:
            found += [f"{column}>={_number(given['filter'])}", f"{column}<={_number(given['filterTo'])}"]
        elif given["type"] in FILTERS:
            found.append(f"{column}{FILTERS[given['type']]}{_number(given['filter'])}")
    return found


def filter_model(where: Sequence[str]) -> dict[str, dict[str, Any]]:
    """AG Grid's `filterModel` of conditions."""
    model: dict[str, dict[str, Any]] = {}
    names = {sign: name for name, sign in FILTERS.items()}
    for part in where:
        column, sign, number = re.findall(CONDITION_PATTERN, part)[0][:3]
        known = model.get(column)
        if known is not None and known["type"] == names[">="] and sign == "<=":
            model[column] = {**known, "type": RANGE, "filterTo": float(number)}
        else:
            model[column] = {"filterType": "number", "type": names[sign], "filter": float(number)}
    return model


def _number(value: float) -> str:
    return f"{float(value):.12g}"
