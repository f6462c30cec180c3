"""How a server says no: problem details (RFC 9457). Status codes are chosen here and nowhere else in the server.

Every refusal has a ``type`` that programs can tell apart, and a ``detail`` that says what to do. What the server did
not expect is said without its text, which may hold anything, and with a number to find in the log.
"""

from __future__ import annotations

import logging
import secrets
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from mcp_sdk import problems
from mcp_sdk.exceptions import (
    Finding,
    MeshError,
    ModelError,
    PolicyError,
    ProtocolError,
    RevisionConflict,
    StoreError,
    StoreUnavailable,
)

__all__ = ["RESPONSES", "Fault", "install"]

logger = logging.getLogger("mcp_sdk.server")
AUTHZEN = "/access/"
"""Where bodies that do not fit are 400, as the Authorization API 1.0 says (section 10.1.2)."""


class Fault(HTTPException):
    """A refusal of the server's own: ``kind`` names it for programs, ``detail`` says it to people.

    An ``HTTPException``, because FastAPI takes any other error that reading a body raises for a malformed body.
    """

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: tuple[tuple[str, str], ...] = (), **members: Any
    ) -> None:
        super().__init__(status, detail)
        self.status, self.kind, self.said, self.members = status, kind, headers, members

    def __str__(self) -> str:
        return self.detail

    def response(self) -> Response:
        """Give the problem that answers it."""
        return _answer(self.status, self.kind, self.detail, headers=self.said, **self.members)


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "description": "urn:mcp-sdk:problem:KIND, which programs can tell apart"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what happened, and how to mend it"},
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    kind: {"description": what, "content": {"application/problem+json": {"schema": _PROBLEM}}}
    for kind, what in (("4XX", "the request is refused"), ("5XX", "the server cannot now"))
}
"""What every route may answer beside what it is for (RFC 9457)."""


def install(app: FastAPI) -> None:
    """Have every error that a route raises answered by a problem."""
    app.add_exception_handler(Fault, _fault)
    app.add_exception_handler(MeshError, _mesh)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _answer(
    status: int, kind: str, detail: str, *, headers: tuple[tuple[str, str], ...] = (), **members: Any
) -> Response:
    title = HTTPStatus(status).phrase
    made = problems.problem(status, kind, title, detail, headers=headers, **members)
    return Response(made.body, made.status, headers=dict(made.headers))


async def _fault(_: Request, error: Exception) -> Response:
    assert isinstance(error, Fault)
    return error.response()


async def _mesh(request: Request, error: Exception) -> Response:
    for kind, status, name in _KINDS:
        if isinstance(error, kind):
            wait = (("retry-after", "1"),) if status == 503 else ()
            return _answer(status, name, str(error), headers=wait, **_members(error))
    return await _unexpected(request, error)


def _members(error: Exception) -> dict[str, Any]:
    if isinstance(error, RevisionConflict):
        return {"expected": error.expected, "actual": error.actual}
    if isinstance(error, PolicyError):
        return {"findings": [_finding(finding) for finding in error.findings]}
    return {}


def _finding(finding: Finding) -> dict[str, Any]:
    names = ("code", "severity", "file", "line", "column", "message")
    return {name: getattr(finding, name) for name in names if hasattr(finding, name)}


_KINDS: tuple[tuple[type[MeshError], int, str], ...] = (
    (RevisionConflict, 409, "revision-conflict"),
    (StoreUnavailable, 503, "store-unavailable"),
    (StoreError, 422, "store-refused"),
    (PolicyError, 422, "policies-refused"),
    (ModelError, 422, "model-refused"),
    (ProtocolError, 400, "malformed"),
    (MeshError, 422, "refused"),
)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    places = [
        {"at": ".".join(str(part) for part in each["loc"]), "is": str(each["msg"])[:200]}
        for each in error.errors()[:20]
    ]
    first = places[0] if places else {"at": "body", "is": "invalid"}
    status = 400 if request.url.path.startswith(AUTHZEN) else 422
    return _answer(status, "invalid", f"{first['at']}: {first['is']}", errors=places)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    headers = tuple((name.lower(), value) for name, value in (error.headers or {}).items())
    if error.status_code == 405:
        headers = (("allow", ", ".join(_allowed(request))),)
    return _answer(error.status_code, phrase.lower().replace(" ", "-"), str(error.detail), headers=headers)


def _allowed(request: Request) -> list[str]:
    """Give the methods of all routes of a path: the framework names those of the first alone."""
    here = [route for route in request.app.state.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in here for method in getattr(route, "methods", None) or ()})


async def _unexpected(request: Request, error: Exception) -> Response:
    number = secrets.token_hex(4)
    logger.error("%s %s failed (%s)", request.method, request.url.path, number, exc_info=error)
    return _answer(500, "internal", f"the server failed; its log says more under {number}", number=number)
