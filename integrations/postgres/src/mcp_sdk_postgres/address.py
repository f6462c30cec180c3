"""Where a store is: the URL, read once, and the words for it that show no password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from mcp_sdk.exceptions import ConfigurationError

__all__ = ["Address", "read"]

_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
_KEPT_ALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "connect_timeout": 5,
}
_EXAMPLE = "postgresql://user:password@host:5432/database?schema=mcp_sdk"


@dataclass(frozen=True, slots=True)
class Address:
    """A database, a schema in it, and how long one waits for it.

    ``libpq`` are connection parameters of libpq, the password among them, so they are never shown. ``timeout`` is in
    seconds: what one statement may take, and what a call waits for a connection. ``pool_size`` is how many
    connections a handle holds at most, its listener aside.
    """

    libpq: dict[str, Any] = field(repr=False)
    schema: str = "mcp_sdk"
    timeout: float = 10.0
    pool_size: int = 4

    @property
    def quoted(self) -> str:
        """The schema as SQL writes it; its letters need no escape."""
        return f'"{self.schema}"'

    @property
    def channel(self) -> str:
        """The channel on which the store's writers wake its watchers."""
        return f"mcp_sdk:{self.schema}"

    @property
    def database(self) -> str:
        """The database, as far as it is named here and not in the environment."""
        return str(self.libpq.get("dbname") or self.libpq.get("user") or "")

    def __str__(self) -> str:
        host, port = self.libpq.get("host", ""), self.libpq.get("port", 5432)
        return f"PostgreSQL at {host or 'the local socket'}:{port}, database {self.database!r}, schema {self.schema!r}"


def read(url: str) -> Address:
    """Read a URL; what is no parameter of ours is libpq's (``sslmode``, ``passfile``, ``target_session_attrs`` …).

    Raises ``ConfigurationError``, which never shows the URL, for a password may stand in it.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = query.pop("schema", "mcp_sdk")
    if not _SCHEMA.fullmatch(schema):
        raise ConfigurationError(
            f"schema={schema!r} cannot be: letters, digits and underscores, not a digit first, 48 at most."
        )
    timeout = _number(query.pop("timeout", "10"), "timeout", 0.1)
    pool_size = int(_number(query.pop("pool_size", "4"), "pool_size", 1))
    plain = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(query), ""))
    try:
        given = conninfo_to_dict(plain)
    except (ProgrammingError, UnicodeError):
        raise ConfigurationError(f"a URL of PostgreSQL cannot be read. Write it like {_EXAMPLE}") from None
    return Address({**_KEPT_ALIVE, **given}, schema, timeout, pool_size)


def _number(text: str, name: str, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value < 1e6:
        raise ConfigurationError(f"{name}={text!r} cannot be: a number from {least:g} on.")
    return value
