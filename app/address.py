"""Where an instance is found, from its settings, and who may find it."""

from __future__ import annotations

from app.errors import InvalidRequest
from app.settings import Settings

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}


def address(settings: Settings) -> str:
    """URL of the instance as this machine reaches it."""
    host = _ANYWHERE.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def check_exposure(settings: Settings) -> None:
    """Raise InvalidRequest for an address that other machines can reach, without a token."""
    if not settings.loopback and settings.token is None:
        raise InvalidRequest(
            f"{settings.host} can be reached from other machines, and no token is set.",
            hint="Set WASSERSCOPE_TOKEN, or listen on 127.0.0.1.",
        )
