"""What a URL says: the servers, how to log in, and the name of the mesh's streams."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from mcp_sdk.exceptions import ConfigurationError, did_you_mean

__all__ = ["Address", "parse"]

NAME = "mcp_sdk"
_SCHEMES = {"nats": "nats", "tls+nats": "tls", "tls": "tls"}
_OPTIONS = ("credentials", "replicas")
_EXAMPLE = "Write nats://localhost:4222/mesh, or nats://user:password@a:4222,b:4222/mesh?replicas=3."


@dataclass(frozen=True, slots=True)
class Address:
    """Servers as nats-py takes them; ``hosts`` is what may be shown. ``user`` alone is a token, as in NATS' URLs.

    ``name`` is that of the stream; ``replicas`` counts the servers that keep a copy, when it is created.
    ``credentials`` is the path of a file of NATS 2 credentials.
    """

    servers: tuple[str, ...]
    hosts: str
    name: str = NAME
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    credentials: str | None = None
    replicas: int = 1


def parse(url: str) -> Address:
    """Read ``nats://[user:password@]host[:port][,…][/name][?replicas=3&credentials=FILE]``.

    Raises ``ConfigurationError``, in whose text no password stands.
    """
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme)
    login, _, hosts = parts.netloc.rpartition("@")
    name = unquote(parts.path.strip("/")) or NAME
    if scheme is None or not hosts or not re.fullmatch(r"[\w-]{1,64}", name, re.ASCII):
        raise ConfigurationError(
            f"a {parts.scheme!r} URL does not name servers and a mesh of letters, digits, _ and -. {_EXAMPLE}"
        )
    options = _options(parts.query)
    return Address(
        tuple(f"{scheme}://{_with_port(host)}" for host in hosts.split(",")),
        hosts,
        name,
        **_login(login),
        credentials=options.get("credentials"),
        replicas=_replicas(options.get("replicas", "1")),
    )


def _with_port(host: str) -> str:
    try:
        port = urlsplit(f"//{host}").port
    except ValueError:
        raise ConfigurationError(f"{host!r} has no port that is a number. {_EXAMPLE}") from None
    return host if port else f"{host}:4222"


def _login(login: str) -> dict[str, str | None]:
    user, colon, password = login.partition(":")
    if not colon:
        return {"token": unquote(user) or None}
    return {"user": unquote(user), "password": unquote(password)}


def _options(query: str) -> dict[str, str]:
    found = dict(parse_qsl(query, keep_blank_values=True))
    for option in found:
        if option not in _OPTIONS:
            raise ConfigurationError(f"unknown option {option!r}.{did_you_mean(option, _OPTIONS)}")
    return found


def _replicas(text: str) -> int:
    if text not in {"1", "2", "3", "4", "5"}:
        raise ConfigurationError(f"replicas={text}: JetStream keeps 1 to 5 copies of a stream.")
    return int(text)
