"""Where an instance is found, from its settings."""

from __future__ import annotations

from app.settings import Settings

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}


def address(settings: Settings) -> str:
    """URL of the instance as this machine reaches it."""
    host = _ANYWHERE.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
