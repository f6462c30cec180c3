"""Which replicas look on, and at what: each says so in a record of its own, for as long as it does.

    tap  <replica>  {"key": "ab12…", "looking": true, "looks": {sealed}, "relays": [["default", "prod"], …]}

A replica looks on while somebody looks on at it. While any does, all the others say that they are there, too, and give
the keys for which what they are told is sealed. A record counts while it is renewed, by the clock of whoever reads it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import MeshError
from mcp_sdk.ports import Record
from mcp_sdk.protocol.filters import Filter
from mcp_sdk.server.relays.sealing import SIZE, Reader, seal

__all__ = ["KIND", "RENEW", "Look", "Lookout", "Lookouts", "Looks", "content"]

KIND = "tap"
"""The kind of the records, which are in ``MESH``."""
RENEW = 5.0
"""Seconds after which a replica renews its record."""
COUNTS = 15.0
"""Seconds for which a record counts after it was last heard to change."""
LEFT = 60.0
"""Seconds without a change after which a record is taken for that of a replica that died."""
MOST = 200
"""Scopes in which one replica looks on at others."""
REPLICAS, RELAYS = 256, 1_000
"""Records that are read, and scopes in one of them where a replica may have batches; of more, more die out later."""


@dataclass(frozen=True)
class Look:
    """What a replica looks at in a scope, and the key that it has as long as it does."""

    filters: tuple[Filter, ...]
    key: bytes


Looks = Mapping[Scope, Look]


@dataclass(frozen=True)
class Lookout:
    """One replica's record; ``heard`` is when it was last heard to change. ``relays`` are where it may have records."""

    record: Record
    heard: float
    key: bytes
    looking: bool
    looks: Looks
    relays: tuple[Scope, ...]


def content(reader: Reader, looks: Looks, relays: Iterable[Scope], readers: set[bytes]) -> Mapping[str, Any]:
    """Give what a replica's record says; only those who own the keys ``readers`` can tell what it looks at."""
    told = [_plain(scope, look) for scope, look in looks.items()][:MOST]
    return {
        "key": reader.public.hex(),
        "looking": bool(looks),
        "looks": seal(told, readers),
        "relays": [list(scope) for scope in relays],
    }


def _plain(scope: Scope, look: Look) -> dict[str, Any]:
    filters = [each.to_dict() for each in look.filters]
    return {"scope": list(scope), "filters": filters, "key": look.key.hex()}


class Lookouts:
    """What the other replicas look at, as their records say. Times are of a clock that only goes forward."""

    def __init__(self) -> None:
        self._known: dict[str, Lookout] = {}

    @property
    def any(self) -> bool:
        """Whether there is any record of another replica."""
        return bool(self._known)

    def learn(self, records: Iterable[Record], now: float, reader: Reader) -> None:
        """Take in the records of the others, as they are now."""
        few = islice(records, REPLICAS)
        self._known = {record.name: self._kept(record) or _read(record, now, reader) for record in few}

    def _kept(self, record: Record) -> Lookout | None:
        known = self._known.get(record.name)
        same = known is not None and (known.record.revision, known.record.content) == (record.revision, record.content)
        return known if same else None

    def _counting(self, now: float) -> list[Lookout]:
        return [one for one in self._known.values() if one.key and now - one.heard <= COUNTS]

    def looking(self, now: float) -> bool:
        """Tell whether any of them looks on."""
        return any(one.looking for one in self._counting(now))

    def keys(self, now: float) -> set[bytes]:
        """Give the keys of all that are there."""
        return {one.key for one in self._counting(now)}

    def readers(self, scope: Scope, now: float) -> set[bytes]:
        """Give the keys that those have who look on in a scope."""
        return {one.looks[scope].key for one in self._counting(now) if scope in one.looks}

    def wanted(self, now: float) -> Mapping[Scope, tuple[Filter, ...]]:
        """Give what they look at, together."""
        found: dict[Scope, tuple[Filter, ...]] = defaultdict(tuple)
        for one in self._counting(now):
            for scope, look in one.looks.items():
                found[scope] += look.filters
        return dict(found)

    def left(self, now: float) -> list[Lookout]:
        """Give those that nobody renewed for so long that their replica must have died."""
        return [one for one in self._known.values() if now - one.heard > LEFT]


def _read(record: Record, now: float, reader: Reader) -> Lookout:
    """Read a record; one that cannot be read, as another version may write it, says nothing."""
    told, relays = record.content, tuple[Scope, ...]()
    try:
        relays = tuple(map(_scope, told["relays"][:RELAYS]))
        looks = {_scope(each["scope"]): _look(each) for each in reader.open(told["looks"]) or ()}
        return Lookout(record, now, _key(told), bool(told["looking"]), looks, relays)
    except (KeyError, TypeError, ValueError, AttributeError, MeshError):
        return Lookout(record, now, b"", looking=False, looks={}, relays=relays)


def _scope(plain: Any) -> Scope:
    namespace, environment = plain
    if not (isinstance(namespace, str) and isinstance(environment, str)):
        raise TypeError("the names of a scope are text")
    return Scope(namespace, environment)


def _look(plain: Mapping[str, Any]) -> Look:
    return Look(tuple(map(Filter.from_dict, plain["filters"])), _key(plain))


def _key(plain: Mapping[str, Any]) -> bytes:
    key = bytes.fromhex(plain["key"])
    if len(key) != SIZE:
        raise ValueError("a key has 32 bytes")
    return key
