"""Where selectors lead."""

from __future__ import annotations

from frontend import ids
from frontend.callbacks.navigation import selected
from frontend.components.variants import NONE


def test_a_choice_goes_into_the_query_and_a_default_out_of_it() -> None:
    names = [ids.view("metric", "wd"), ids.view("pruning", NONE)]
    assert selected(["md", NONE], names, "/runs/r", "") == "/runs/r?metric=md"
    names = [ids.view("metric", "md"), ids.view("pruning", "p-1")]
    assert selected(["wd", "p-1"], names, "/runs/r", "?metric=md&pruning=p-1") == "/runs/r?pruning=p-1"
    assert selected(["md", NONE], names, "/runs/r", "?metric=md&pruning=p-1") == "/runs/r?metric=md"


def test_what_a_selector_came_with_changes_nothing() -> None:
    """Also when somebody has gone back to another address while its page was coming."""
    names = [ids.view("metric", "entropy")]
    assert selected(["entropy"], names, "/runs/r", "?metric=entropy") is None
    assert selected(["entropy"], names, "/runs/r", "") is None
