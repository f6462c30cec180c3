"""What a request says of itself, as policies see it: its operation, and headers and query read when first looked at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote

__all__ = ["NO_FIELDS", "EnvironHeaders", "LazyMapping", "Query", "RawHeaders", "joined", "one_path", "operation_of"]

MAX_QUERY_FIELDS = 1000
_SLASHES = re.compile("//+")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~!$&'()*+,;=:@-]*")


class LazyMapping(Mapping[str, str]):
    """A mapping that is read when first looked at."""

    __slots__ = ("_items", "_raw")

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._items: dict[str, str] | None = None

    def _read(self) -> dict[str, str]:
        raise NotImplementedError

    @property
    def _all(self) -> dict[str, str]:
        if self._items is None:
            self._items = self._read()
        return self._items

    def __getitem__(self, name: str) -> str:
        return self._all[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


class RawHeaders(LazyMapping):
    """Headers as pairs of bytes, as ASGI and httpx have them; lines of one name are joined."""

    __slots__ = ()

    def _read(self) -> dict[str, str]:
        return joined((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in self._raw)


class EnvironHeaders(LazyMapping):
    """The headers of a WSGI environ."""

    __slots__ = ()

    def _read(self) -> dict[str, str]:
        found = {
            _header_name(key): value
            for key, value in self._raw.items()
            if key[:5] == "HTTP_" and isinstance(value, str)
        }
        for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if self._raw.get(key):
                found[key.lower().replace("_", "-")] = self._raw[key]
        return found


class Query(LazyMapping):
    """The fields of a query string; of a field given twice the last counts, as in Starlette and Django."""

    __slots__ = ()

    def _read(self) -> dict[str, str]:
        try:
            pairs = parse_qsl(self._raw, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS, errors="replace")
        except ValueError:
            return {}
        return dict(pairs)


NO_FIELDS: Mapping[str, str] = MappingProxyType({})
"""What an empty query string says."""


def joined(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join header lines of one name by commas (RFC 9110 section 5.3), ``cookie`` by semicolons (RFC 9113)."""
    found: dict[str, str] = {}
    for name, value in lines:
        if name in found:
            value = f"{found[name]}{'; ' if name == 'cookie' else ', '}{value}"  # noqa: PLW2901
        found[name] = value
    return found


def _header_name(key: str) -> str:
    return key[5:].lower().replace("_", "-")


def one_path(path: str) -> str:
    """Give a decoded path as the most lenient router reads it: from one slash on, and a run of slashes is one.

    Werkzeug serves ``//admin`` and ``admin`` as ``/admin``; what is decided on must be what is served.
    """
    return path if path[:1] == "/" and "//" not in path else _SLASHES.sub("/", f"/{path}")


def operation_of(method: str, path: str) -> str:
    """Give ``METHOD /path`` of a decoded path, as ``one_path`` reads it.

    HEAD is GET without a body (RFC 9110 section 9.3.2), and is governed as such; Django and Flask read methods in
    either case.
    """
    path, method = one_path(path), method.upper()
    written = path if _PLAIN_PATH.fullmatch(path) else quote(path, safe="/!$&'()*+,;=:@", errors="replace")
    return f"{'GET' if method == 'HEAD' else method} {written}"
