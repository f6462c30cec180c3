"""Tokens: ``mcp_<id>_<secret>``, where the store holds only the SHA-256 of the secret.

The secret has 256 random bits, so that a plain hash cannot be searched: slow hashes are for words that people choose.
A token has grants and an end; replicas hear of new, revoked and expired ones by the store's watch.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from mcp_sdk.context import MESH
from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.ports import Record, Store
from mcp_sdk.server.access.callers import Caller, Grant
from mcp_sdk.server.faults import Fault

__all__ = ["KIND", "Token", "Tokens", "mint", "unauthorised"]

logger = logging.getLogger("mcp_sdk.server")
KIND = "token"
_FORM = re.compile(r"mcp_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Token:
    """A token as it is stored; times are seconds since the epoch."""

    id: str
    name: str
    digest: str
    grants: tuple[Grant, ...]
    service: str = ""
    created_at: float = 0.0
    expires_at: float = float("inf")
    makers: tuple[str, ...] = ()
    revision: int = 0

    def record(self) -> Record:
        """Give the record that holds it."""
        content = {
            "name": self.name,
            "sha256": self.digest,
            "grants": [grant.to_dict() for grant in self.grants],
            "service": self.service,
            "created_at": self.created_at,
            "expires_at": None if self.expires_at == float("inf") else self.expires_at,
            "makers": list(self.makers),
        }
        return Record(KIND, self.id, content, self.revision)

    @classmethod
    def from_record(cls, record: Record) -> Self:
        """Read what ``record`` wrote; raises ``ProtocolError``."""
        held = record.content
        try:
            grants = tuple(Grant.from_dict(grant) for grant in held["grants"])
            until = float("inf") if held["expires_at"] is None else float(held["expires_at"])
            return cls(
                record.name,
                held["name"],
                held["sha256"],
                grants,
                held["service"],
                held["created_at"],
                until,
                tuple(held.get("makers", ())),
                record.revision,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"the token {record.name!r} is stored in a form that cannot be read") from error

    def shown(self) -> dict[str, Any]:
        """Give what may be shown of it: all but the hash."""
        return {"id": self.id} | {key: value for key, value in self.record().content.items() if key != "sha256"}


def mint(
    name: str,
    grants: Sequence[Grant],
    *,
    service: str = "",
    ttl: float | None = None,
    now: float,
    maker: Caller | None = None,
) -> tuple[Token, str]:
    """Make a token and its text, which is seen this once. ``ttl`` and ``now`` are in seconds.

    A token does not outlive its ``maker``.
    """
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
    key, secret = "".join(secrets.choice(alphabet) for _ in range(12)), secrets.token_urlsafe(32)
    until = min(float("inf") if ttl is None else now + ttl, float("inf") if maker is None else maker.expires)
    makers = () if maker is None else (maker.key, *maker.makers)
    return Token(key, name, _hash(secret), tuple(grants), service, now, until, makers), f"mcp_{key}_{secret}"


class Tokens:
    """The tokens that a replica knows."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._known: Mapping[str, Token] = {}

    @property
    def known(self) -> tuple[Token, ...]:
        """Every token that is stored."""
        return tuple(self._known.values())

    async def learn(self) -> None:
        """Read the tokens that are stored."""
        records = await self._store.records(MESH, KIND)
        self._known = {token.id: token for token in map(_read, records) if token is not None}

    async def add(self, token: Token) -> None:
        """Store a new token."""
        await self._store.put_record(MESH, token.record())
        await self.learn()

    async def remove(self, token: Token) -> None:
        """Delete a token: it is known no longer, here at once and on other replicas as soon as they hear of it."""
        await self._store.delete_record(MESH, token.record())
        await self.learn()

    def stands(self, caller: Caller) -> bool:
        """Tell whether the token of a caller is known still."""
        return caller.key.removeprefix("token:") in self._known

    def caller(self, text: str) -> Caller:
        """Give who holds a token; raises a 401 that does not say which part of it is wrong."""
        found = _FORM.fullmatch(text)
        token = self._known.get(found[1]) if found else None
        if found is None or token is None or not hmac.compare_digest(token.digest, _hash(found[2])):
            raise unauthorised("the token is not known here. An admin makes one with: mcpctl token create")
        if token.expires_at <= self._clock():
            raise unauthorised(
                f"the token {token.name!r} has expired. An admin makes a new one with: mcpctl token create"
            )
        key = f"token:{token.id}"
        return Caller(token.name, token.grants, token.service, token.expires_at, key=key, makers=token.makers)


def _read(record: Record) -> Token | None:
    """Give a token, or None for one that cannot be read: a newer version's, say, of which the others must not fall."""
    try:
        return Token.from_record(record)
    except ProtocolError as error:
        logger.error("a token is passed over: %s", error)  # noqa: TRY400
        return None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def unauthorised(detail: str) -> Fault:
    """Give the 401 that says why nobody is known."""
    return Fault(401, "unauthorised", detail, headers=(("www-authenticate", 'Bearer realm="mcp-sdk"'),))
