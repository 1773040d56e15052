"""One exception root; a class per kind of failure, each with its HTTP status and stable code.

Raised anywhere (service, store, worker, client) and translated once: by the API into `application/problem+json`
(RFC 9457), by a worker into the `problem` of its job, by the command line into a sentence and an exit code.
`detail` says what happened, `hint` what to do about it, `errors` which fields of the request it is about.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of a request; `field` is dotted, as `body.tokens`."""

    field: str
    message: str


class WasserscopeError(Exception):
    """Root of every failure that a user can be told about."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, hint: str = "", errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.errors = tuple(errors)

    def at(self, *fields: str) -> Self:
        """The same error, about these fields; one that knows its fields already stays as it is."""
        self.errors = self.errors or tuple(FieldError(field, self.detail) for field in fields)
        return self


class InvalidRequest(WasserscopeError):
    """A value is out of range or does not fit the others."""

    status, code, title = 422, "invalid-request", "The request cannot be carried out"


class NotFound(WasserscopeError):
    """No such run, layer, neuron, job or route."""

    status, code, title = 404, "not-found", "Not found"


class Conflict(WasserscopeError):
    """The thing is in a state that does not allow this."""

    status, code, title = 409, "conflict", "Not possible in the present state"


class Unauthorized(WasserscopeError):
    """No token, or a wrong one."""

    status, code, title = 401, "unauthorized", "A token is needed"


class TooLarge(WasserscopeError):
    """A body, list or count above its limit."""

    status, code, title = 413, "too-large", "Too large"


class ModelError(WasserscopeError):
    """The model is unknown, unreadable, or has nothing that can be scored."""

    status, code, title = 422, "model", "The model cannot be used"


class ModelNotFound(ModelError):
    """The named model does not exist at its source."""

    status, code, title = 404, "model-not-found", "No such model"


class HubUnreachable(ModelError):
    """The hub did not answer, or this machine is offline, and the files are not in the local cache."""

    status, code, title = 502, "hub-unreachable", "The hub cannot be reached"


class UnsafeFile(ModelError):
    """A pickle checkpoint, remote code, or a path outside its root."""

    status, code, title = 422, "unsafe-file", "Refused for safety"


class CorruptFile(ModelError):
    """A model file is truncated or altered."""

    status, code, title = 422, "corrupt-file", "The file is damaged"


class CorpusError(WasserscopeError):
    """The corpus is unknown, unreadable, or too short."""

    status, code, title = 422, "corpus", "The corpus cannot be used"


class NumericsError(WasserscopeError):
    """A computation met NaN, infinity or a matrix it cannot invert."""

    status, code, title = 422, "numerics", "The computation failed"


class OutOfMemory(WasserscopeError):
    """Host or device memory did not suffice."""

    status, code, title = 507, "out-of-memory", "Not enough memory"


class StoreError(WasserscopeError):
    """The store cannot be read or written."""

    status, code, title = 503, "store", "The store is not available"


class StoreFull(StoreError):
    """No space left on the store's device."""

    status, code, title = 507, "store-full", "The store is full"


class CorruptStore(StoreError):
    """An artifact does not match the checksum in its manifest."""

    status, code, title = 500, "corrupt-store", "A stored artifact is damaged"


class QueueUnavailable(WasserscopeError):
    """Redis does not answer."""

    status, code, title = 503, "queue-unavailable", "The job queue cannot be reached"


class JobCancelled(WasserscopeError):
    """Raised inside a worker when its job was cancelled."""

    status, code, title = 409, "cancelled", "The job was cancelled"


class WorkerLost(WasserscopeError):
    """The process that ran the job died."""

    status, code, title = 500, "worker-lost", "The worker died"


class PortTaken(WasserscopeError):
    """Another program listens on the port."""

    status, code, title = 409, "port-taken", "The port is taken"


class ApiUnreachable(WasserscopeError):
    """The client cannot connect to the API."""

    status, code, title = 503, "api-unreachable", "The API cannot be reached"


@contextlib.contextmanager
def about(field: str) -> Iterator[None]:
    """Whatever is raised within is about `field` of the request, unless it says otherwise."""
    try:
        yield
    except WasserscopeError as error:
        if error.status < 500 or isinstance(error, HubUnreachable):
            error.at(field)
        raise


def error_from_code(
    code: str, detail: str, *, hint: str = "", errors: Sequence[FieldError] = ()
) -> WasserscopeError:
    """Rebuild the exception of a problem's `code`; the root class when the code is unknown."""
    stack: list[type[WasserscopeError]] = [WasserscopeError]
    while stack:
        cls = stack.pop()
        if cls.code == code:
            return cls(detail, hint=hint, errors=errors)
        stack.extend(cls.__subclasses__())
    return WasserscopeError(detail, hint=hint, errors=errors)
