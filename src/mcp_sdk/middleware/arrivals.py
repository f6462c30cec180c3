"""A request as it arrived, read from an ASGI scope or a WSGI environ into one shape.

The path is the application's own view of it: decoded, without the part under which the application is mounted, and read
as the most lenient router reads it (``one_path``). Policies see that path written with percent-encoding, so
``/admin%2Fusers`` is the same operation to a policy as to a framework's router.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_sdk.facts import NO_FIELDS, EnvironHeaders, Query, RawHeaders, one_path, operation_of

__all__ = ["Arrival", "read_environ", "read_scope"]

_LOOKED_AT = frozenset({b"baggage", b"host", b"content-length"})


@dataclass(slots=True)
class Arrival:
    """What arrived. ``carrier`` is the scope or environ, which readers of the principal get; ``address`` the peer's."""

    carrier: Any
    method: str
    path: str
    scheme: str
    host: str
    size: int
    address: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    baggage: Sequence[str | bytes]

    @property
    def operation(self) -> str:
        """``METHOD /path`` as policies write it."""
        return operation_of(self.method, self.path)


def read_scope(scope: MutableMapping[str, Any]) -> Arrival:
    """Read an ASGI scope of type ``http`` or ``websocket``; an opening websocket is a GET (RFC 6455 section 4.1)."""
    raw = scope["headers"]
    if type(raw) is not list:
        raw = scope["headers"] = list(raw)
    host, size, baggage = "", -1, []
    for name, value in raw:
        if name not in _LOOKED_AT:
            continue
        if name == b"baggage":
            baggage.append(value)
        elif name == b"host":
            host = value.decode("latin-1").lower()
        else:
            size = _size(value)
    client, query = scope.get("client"), scope.get("query_string", b"")
    return Arrival(
        scope,
        scope.get("method", "GET").upper(),
        one_path(_route_path(scope)),
        scope.get("scheme", "http"),
        host,
        size,
        client[0] if client else "",
        RawHeaders(raw),
        Query(query.decode("latin-1")) if query else NO_FIELDS,
        baggage,
    )


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
    return Arrival(
        environ,
        environ.get("REQUEST_METHOD", "GET").upper(),
        one_path(environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace")),
        environ.get("wsgi.url_scheme", "http"),
        environ.get("HTTP_HOST", "").lower(),
        _size(environ.get("CONTENT_LENGTH") or ""),
        environ.get("REMOTE_ADDR", ""),
        EnvironHeaders(environ),
        Query(environ.get("QUERY_STRING", "")),
        (line,) if line else (),
    )
