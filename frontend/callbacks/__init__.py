"""Callbacks: each a few lines over the client and the pure functions of the other rooms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from dash import Dash

Function = TypeVar("Function", bound=Callable[..., Any])


def on(app: Dash, *arguments: Any, **options: Any) -> Callable[[Function], Function]:
    """`app.callback`, which has no types of its own, as a decorator that keeps the function's type."""
    return cast(Callable[[Function], Function], app.callback(*arguments, **options))
