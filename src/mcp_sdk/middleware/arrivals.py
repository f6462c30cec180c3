"""A request as it arrived, read from an ASGI scope or a WSGI environ into one shape.

The path is the application's own view of it: decoded, without the part under which the application is mounted, and read
as the most lenient router reads it (``one_path``). Policies see that path written with percent-encoding, so
``/admin%2Fusers`` is the same operation to a policy as to a framework's router.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_sdk.decisions import NEW_FACTS, Geo, RequestFacts
from mcp_sdk.facts import NO_FIELDS, EnvironHeaders, Query, RawHeaders, one_path, operation_of

__all__ = ["Arrival", "read_environ", "read_scope"]

_NOWHERE = Geo()


@dataclass(slots=True)
class Arrival:
    """What arrived: ``facts`` are what policies see of it, but for where it comes from.

    ``carrier`` is the scope or environ, which readers of the principal get; ``address`` the peer's; ``baggage`` the
    lines of that header.
    """

    carrier: Any
    facts: RequestFacts
    address: str
    baggage: Sequence[str | bytes]


def read_scope(scope: MutableMapping[str, Any]) -> Arrival:
    """Read an ASGI scope of type ``http`` or ``websocket``; an opening websocket is a GET (RFC 6455 section 4.1)."""
    raw = scope["headers"]
    if type(raw) is not list:
        raw = scope["headers"] = list(raw)
    found = dict(raw)
    length, baggage = found.get(b"content-length"), found.get(b"baggage")
    client, query = scope.get("client"), scope.get("query_string", b"")
    facts: Any = object.__new__(NEW_FACTS)
    facts.method = method = scope.get("method", "GET").upper()
    facts.path = path = one_path(_route_path(scope))
    facts.operation = operation_of(method, path)
    facts.scheme = scope.get("scheme", "http")
    facts.host = found.get(b"host", b"").decode("latin-1").lower()
    facts.headers = RawHeaders(raw)
    facts.query = Query(query.decode("latin-1")) if query else NO_FIELDS
    facts.size = -1 if length is None else _size(length)
    facts.geo = _NOWHERE
    facts.__class__ = RequestFacts
    lines = () if baggage is None else (baggage,) if len(found) == len(raw) else _lines(raw, b"baggage")
    return Arrival(scope, facts, client[0] if client else "", lines)


def _lines(raw: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in raw if name == wanted]


def _route_path(scope: Mapping[str, Any]) -> str:
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :] or "/"
    return path or "/"


def _size(value: str | bytes) -> int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else -1


def read_environ(environ: MutableMapping[str, Any]) -> Arrival:
    """Read a WSGI environ (PEP 3333), whose texts are bytes read as Latin-1."""
    line = environ.get("HTTP_BAGGAGE")
    method = environ.get("REQUEST_METHOD", "GET").upper()
    path = one_path(environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace"))
    facts = RequestFacts(
        method,
        path,
        operation_of(method, path),
        environ.get("wsgi.url_scheme", "http"),
        environ.get("HTTP_HOST", "").lower(),
        EnvironHeaders(environ),
        Query(environ.get("QUERY_STRING", "")),
        _size(environ.get("CONTENT_LENGTH") or ""),
    )
    return Arrival(environ, facts, environ.get("REMOTE_ADDR", ""), (line,) if line else ())
