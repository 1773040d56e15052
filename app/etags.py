"""ETags for what never changes: everything below a finished run but what is made from it. A client that has it already
is answered 304.

Prunings, expansions, evaluations and sweeps grow, and so do answers that show the effect of one; a layer's outputs come and go,
and with them whatever is read from them. These carry no ETag.

The answer says `no-cache`, which means "ask me first": a run can be deleted, and then it is gone for everyone.
"""

from __future__ import annotations

import hashlib
import re

from starlette._utils import get_route_path
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import WasserscopeError
from app.schemas.run import RUN_PATTERN
from app.store import Store

_BELOW = re.compile(
    rf"^/v1/runs/({RUN_PATTERN.strip('^$')})/(?!(?:prunings|expansions|evaluations|outputs|sweeps)(?:/|$))"
    r"(?!layers/[^/]+/[^/]+/(?:outputs|neurons/[^/]+/(?:tokens|pairs|wd-interval))$).+$"
)
_GROWING = {"pruning", "expansion", "sweep", "other"}
"""Parameters that name what is made from a run, or another run."""


class ETags:
    """ASGI middleware around the API."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app, self._store = app, store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        found = _BELOW.match(get_route_path(scope)) if scope["type"] == "http" else None
        if found is None or scope["method"] not in ("GET", "HEAD") or _growing(scope):
            await self._app(scope, receive, send)
            return
        tag = await run_in_threadpool(self._tag, found[1], scope)
        if tag is None:
            await self._app(scope, receive, send)
            return
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        known = Headers(scope=scope).get("if-none-match", "")
        if tag in [part.strip() for part in known.split(",")]:
            await Response(status_code=304, headers=headers)(scope, receive, send)
            return

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, tagged)

    def _tag(self, run: str, scope: Scope) -> str | None:
        """A weak ETag of this address on this run; None while the run is not finished."""
        try:
            manifest = self._store.manifest(run)
        except WasserscopeError:  # the route meets the same error and tells of it
            return None
        if manifest is None:
            return None
        what = f"{manifest.finished_at.isoformat()} {get_route_path(scope)} {scope['query_string']!r}"
        return f'W/"{hashlib.sha256(what.encode()).hexdigest()[:20]}"'


def _growing(scope: Scope) -> bool:
    return not _GROWING.isdisjoint(QueryParams(scope["query_string"]))
