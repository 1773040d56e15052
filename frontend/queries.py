"""What a card shows, as the one call that answers it: its address, the same for curl and for Python.

The paths are those of the client, so what is copied is what the dashboard itself has asked.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from app.client.calls import PREFIX, Call, Calls


@dataclass(frozen=True)
class Query:
    """One method of the client with its arguments."""

    method: str
    args: tuple[str | int, ...]
    named: dict[str, Any] = field(default_factory=dict)

    @property
    def given(self) -> dict[str, Any]:
        """The named arguments that have a value."""
        return {name: value for name, value in self.named.items() if value is not None}

    @property
    def path(self) -> str:
        """Path and query of the request."""
        call: Call[Any] = getattr(Calls, self.method)(*self.args, **self.given)
        sent = call.request()
        query = urlencode(sent["params"], doseq=True)
        return f"{PREFIX}{call.path}?{query}" if query else f"{PREFIX}{call.path}"

    def curl(self, origin: str) -> str:
        """As a command line."""
        return f"curl -s {shlex.quote(origin + self.path)}"

    def python(self, origin: str) -> str:
        """As a script through the client."""
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.given.items())]
        return (
            "from app.client import Client\n\n"
            f"client = Client({origin!r})\n{self.method} = client.{self.method}({', '.join(given)})"
        )
