"""The token: when one is set, every path needs it, the dashboard's own and its callbacks included.

Scripts send `Authorization: Bearer TOKEN`. A browser gets a page that asks for the token once and keeps it as a cookie
that scripts in the page cannot read and other sites cannot send. Only `/login` answers without it, and `/api/v1/health`
with nothing but whether the process lives.
"""

from __future__ import annotations

import hashlib
import hmac
import html
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import response
from app.errors import InvalidRequest, Unauthorized

COOKIE = "wasserscope"
HEALTH = "/api/v1/health"

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Wasserscope</title><style>
body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;margin:0;color-scheme:light dark}
form{display:grid;gap:16px;width:320px}h1{font-size:24px;margin:0}p{margin:0}input,button{font:inherit;padding:8px}
.wrong{color:#d55e00}</style>
<form method="post" action="/login"><h1>Wasserscope</h1>%s
<label for="token">Access token (WASSERSCOPE_TOKEN)</label>
<input id="token" name="token" type="password" autofocus required autocomplete="current-password">
<input type="hidden" name="next" value="%s"><button>Open</button></form></html>"""


class TokenGuard:
    """ASGI middleware that lets nothing through without the token, web sockets included."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()
        # The cookie is a digest, so that the token itself is never stored by a browser.
        self._cookie = hmac.new(self._token, b"wasserscope cookie", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan" or self._known(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401})
        else:
            await (await self._refused(Request(scope, receive)))(scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        headers = {name: value for name, value in scope["headers"] if name in (b"authorization", b"cookie")}
        bearer = headers.get(b"authorization", b"")
        if bearer[:7].lower() == b"bearer " and hmac.compare_digest(bearer[7:].strip(), self._token):
            return True
        try:
            cookie = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._cookie.encode())

    async def _refused(self, request: Request) -> Response:
        path = request.url.path
        if path == "/login":
            return await self._login(request)
        if path == HEALTH:
            return JSONResponse({"status": "ok"})
        if path.startswith(("/api", "/v1")) or "text/html" not in request.headers.get("accept", ""):
            hint = "Send the header 'Authorization: Bearer TOKEN' with the value of WASSERSCOPE_TOKEN."
            return response(Unauthorized("This service needs a token.", hint=hint))
        where = path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(where)}", status_code=303)

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return _page(request.query_params.get("next", "/"))
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > 16_384:
                return _page("/", wrong=True)
        form = parse_qs(body.decode("utf-8", errors="replace"))
        where = form.get("next", ["/"])[0]
        if not hmac.compare_digest(form.get("token", [""])[0].encode(), self._token):
            return _page(where, wrong=True)
        answer = RedirectResponse(_own(where), status_code=303)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE, self._cookie, httponly=True, samesite="strict", secure=secure, max_age=30 * 86400
        )
        return answer


class SiteGuard:
    """ASGI middleware: pages of other sites, open in the same browser, may look at nothing and change nothing.

    Without a token nothing else would keep such a page from posting to a service on this machine. Browsers mark these
    requests themselves; scripts and older browsers send no mark and pass.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        foreign = scope["type"] != "lifespan" and (b"sec-fetch-site", b"cross-site") in scope["headers"]
        if foreign and scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4403})
        elif foreign and scope["method"] not in ("GET", "HEAD"):  # a link from elsewhere is fine
            hint = "Open the dashboard itself, or call the API from a script."
            refused = InvalidRequest("The request comes from a page of another site.", hint=hint)
            await response(refused)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _own(where: str) -> str:
    """A path of this site; anything else leads to the first page."""
    return where if where.startswith("/") and not where.startswith(("//", "/\\")) else "/"


def _page(where: str, *, wrong: bool = False) -> HTMLResponse:
    note = '<p class="wrong" role="alert">That is not the token.</p>' if wrong else ""
    return HTMLResponse(
        _PAGE % (note, html.escape(_own(where), quote=True)), status_code=401 if wrong else 200
    )
