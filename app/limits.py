"""A limit on request bodies, counted as they arrive, whatever their header says."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import response
from app.errors import TooLarge


class BodyLimit:
    """ASGI middleware: a body above `most_bytes` is answered with 413 and not read any further."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app, self._most = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._most:
            await response(self._error())(scope, receive, send)
            return
        seen, refused = 0, False

        async def counted() -> Message:
            nonlocal seen, refused
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                refused = True
                return {"type": "http.disconnect"}  # whoever reads the body stops here
            return message

        async def unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        await self._app(scope, counted, unless_refused)
        if refused:
            await response(self._error())(scope, receive, send)

    def _error(self) -> TooLarge:
        return TooLarge(
            f"A request body may have at most {self._most / 2**20:.0f} MiB.",
            hint="For a large text, put it below WASSERSCOPE_CORPUS_ROOT and name it file:..., "
            "or raise WASSERSCOPE_MAX_BODY_MEBIBYTES.",
        )
