"""What the URL of a store says: where the server is, and how to use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from mcp_sdk.exceptions import ConfigurationError

__all__ = ["Options", "parse"]

EXAMPLE = "redis://127.0.0.1:6379/0?prefix=shop"
SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster")


@dataclass(frozen=True)
class Options:
    """Where a store is and how it is used.

    ``prefix`` keeps stores of one server apart. ``timeout`` is the seconds that a call waits for the server.
    ``log_age`` (seconds) and ``log_size`` (changes) bound the log. With ``replicas`` a write is acknowledged once so
    many replicas have it. ``tls`` holds the options ``ssl_…`` of redis-py.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    secure: bool = False
    cluster: bool = False
    prefix: str = "mcp_sdk"
    timeout: float = 5.0
    log_age: float = 7 * 86_400.0
    log_size: int = 1_000_000
    replicas: int = 0
    tls: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def address(self) -> str:
        """Where the server is, without name and password: what messages show."""
        scheme = ("rediss" if self.secure else "redis") + ("+cluster" if self.cluster else "")
        return f"{scheme}://{self.host}:{self.port}" + ("" if self.cluster else f"/{self.database}")


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not 0 < value < 1e12:
            raise ValueError
        return value

    return read


def _prefix(text: str) -> str:
    if not text or "{" in text or "}" in text:
        raise ValueError
    return text


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "prefix": (_prefix, "a name without braces"),
    "timeout": (_positive(float), "seconds, more than 0"),
    "log_age": (_positive(float), "seconds, more than 0"),
    "log_size": (_positive(int), "a number of changes, at least 1"),
    "replicas": (_positive(int), "a number of replicas, at least 1"),
    "ssl_ca_certs": (str, "a file"),
    "ssl_certfile": (str, "a file"),
    "ssl_keyfile": (str, "a file"),
    "ssl_cert_reqs": (str, "required, optional or none"),
    "ssl_check_hostname": (_flag, "true or false"),
}


def parse(url: str) -> Options:
    """Read a URL; raises ``ConfigurationError``, which never shows the URL itself: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    except ValueError:
        raise ConfigurationError(f"the Redis URL has no readable host and port. Write e.g. {EXAMPLE}") from None
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ConfigurationError(f"a Redis URL is written {EXAMPLE}; schemes: {', '.join(SCHEMES)}.")
    cluster = parts.scheme.endswith("+cluster")
    options = _query(parts.query)
    if cluster and "replicas" in options:
        raise ConfigurationError("replicas=N is not for redis+cluster: set min-replicas-to-write on its servers.")
    return Options(
        host=host,
        port=port,
        database=_database(parts, cluster=cluster),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        secure=parts.scheme.startswith("rediss"),
        cluster=cluster,
        **options,
    )


def _database(parts: SplitResult, *, cluster: bool) -> int:
    text = parts.path.strip("/") or "0"
    if not (text.isascii() and text.isdecimal()):
        raise ConfigurationError(f"{text!r} is no number of a database. Write e.g. {EXAMPLE}")
    if cluster and int(text):
        raise ConfigurationError(f"a cluster has only database 0, not {text}. Tell stores apart by ?prefix=NAME.")
    return int(text)


def _query(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _READERS:
            raise ConfigurationError(f"unknown option {name!r} in the Redis URL. Known: {', '.join(_READERS)}.")
        read, wanted = _READERS[name]
        try:
            options[name] = read(text)
        except (ValueError, KeyError):
            raise ConfigurationError(f"{name}={text!r} in the Redis URL: it takes {wanted}.") from None
    tls = {name: options.pop(name) for name in list(options) if name.startswith("ssl_")}
    return {**options, "tls": tls}
