"""Every failure as application/problem+json (RFC 9457): the one place where exceptions become answers."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from app.errors import FieldError, InvalidRequest, NotFound, TooLarge, Unauthorized, WasserscopeError
from app.schemas.problem import Problem

MEDIA_TYPE = "application/problem+json"
_REFERENCE = {"schema": {"$ref": "#/components/schemas/Problem"}}
_WORDS = {
    401: "No token, or a wrong one.",
    404: "There is no such thing.",
    409: "Not possible in the present state.",
    413: "The body is too large.",
    422: "The request cannot be carried out.",
    500: "An error that was not foreseen, or a damaged artifact.",
    502: "The model hub cannot be reached.",
    503: "Redis or the store cannot be reached.",
    507: "The store is full.",
}

log = structlog.get_logger("wasserscope.api")


class MethodNotAllowed(WasserscopeError):
    """The path exists, the method does not."""

    status, code, title = 405, "method-not-allowed", "Method not allowed"


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of an operation: the failures it may answer with, besides those that all may."""
    return {
        status: {"description": _WORDS[status], "content": {MEDIA_TYPE: _REFERENCE}}
        for status in sorted({401, 500, 503, *statuses})
    }


def response(error: WasserscopeError) -> Response:
    """The answer that tells of `error`."""
    problem = Problem.of(error)
    return Response(problem.model_dump_json(), status_code=error.status, media_type=MEDIA_TYPE)


def install(api: FastAPI) -> None:
    """Handlers for the exception root, for validation, for unknown paths and for what nobody foresaw."""

    @api.exception_handler(WasserscopeError)
    async def known(request: Request, error: WasserscopeError) -> Response:
        if error.status >= 500:
            log.warning("request failed", path=request.url.path, code=error.code, detail=error.detail)
        return response(error)

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fields = [
            FieldError(".".join(str(part) for part in item["loc"]), item["msg"].removeprefix("Value error, "))
            for item in error.errors()
        ]
        names = ", ".join(sorted({item.field for item in fields}))
        hint = "The fields and their limits are described in /api/docs."
        return response(InvalidRequest(f"Not valid: {names}.", hint=hint, errors=fields))

    @api.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        path = request.url.path
        known: dict[int, WasserscopeError] = {
            404: NotFound(f"There is nothing at {path}.", hint="The operations are described in /api/docs."),
            405: MethodNotAllowed(f"{request.method} is not possible at {path}.", hint="See /api/docs."),
            401: Unauthorized(str(error.detail)),
            413: TooLarge(str(error.detail)),
        }
        made = response(known.get(error.status_code, InvalidRequest(str(error.detail))))
        for name, value in (error.headers or {}).items():
            made.headers[name] = value
        return made

    @api.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        log.error("unforeseen error", path=request.url.path, exc_info=error)
        detail = f"An error that was not foreseen: {type(error).__name__}."
        return response(WasserscopeError(detail, hint="The server's log has the details."))
