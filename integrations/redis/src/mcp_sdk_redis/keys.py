"""The names of a store's keys.

**The unit of sharding is the store.** Every key begins with ``{prefix}``, the one hash tag of a store, so in a cluster
all of it stands on one shard, and several meshes, each with a prefix of its own, spread over the shards. The order of
one watch across all scopes must be exact, and one call may move entities of several scopes: a tag for each scope would
have the one merged and the other split. See ``docs/decisions/0007-redis-store.md``.

Scopes, models and kinds are percent-encoded where something follows them, so no two names make one key.
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, unquote

from mcp_sdk.context import Scope
from mcp_sdk_redis.errors import encoded

__all__ = ["Keys", "head", "parted", "path", "scope_of"]


@lru_cache(maxsize=4096)
def path(*parts: str) -> str:
    """Give names as one text, of which each can be told again; raises ``StoreError``."""
    return "/".join(quote(encoded(part), safe="") for part in parts)


@lru_cache(maxsize=4096)
def parted(text: str) -> tuple[str, ...]:
    """Read what ``path`` wrote."""
    return tuple(map(unquote, text.split("/")))


def head(scope: Scope, model: str) -> str:
    """Give what stands before an entity's id: ``default/default/order/``."""
    return path(*scope, model) + "/"


def scope_of(text: str) -> Scope:
    """Read the scope that a path begins with."""
    return Scope(*parted(text)[:2])


class Keys:
    """The keys of the store of one prefix."""

    def __init__(self, prefix: str) -> None:
        self._tag = f"{{{prefix}}}:"
        self.meta: str = self._tag + "meta"
        """Hash: identity, schema, the id of the last change that was trimmed, counters."""
        self.changes: str = self._tag + "changes"
        """Stream: the kind of each change, and nothing that would have to be erased."""
        self.log: str = self._tag + "log"
        """Hash by the id of a change: a transition with what became of it, or what was forgotten."""
        self.entities: str = self._tag + "entities"
        """Hash by head and id: the id of the newest change, and the context."""
        self.by_id: str = self._tag + "by-id"
        """Sorted set by code points: head and id."""
        self.by_state: str = self._tag + "by-state"
        """Sorted set by code points: head, length of the state, state, id."""
        self.seen: tuple[str, ...] = tuple(f"{self._tag}seen:{number}" for number in range(4))
        """Hashes of half a day each: what became of an event id."""
        self.audit: str = self._tag + "audit"
        """List: the entries of the audit log."""
        self.writing: tuple[str, ...] = (self.meta, self.changes, self.log, self._tag + "notices")
        """What every script that writes begins with; the last is a list of changes that name what was forgotten."""

    def ages(self, head: str) -> str:
        """Give the sorted set by time of the last change: ids of one model in one scope."""
        return f"{self._tag}ages:{head}"

    def of(self, what: str, scope: Scope, *more: str) -> str:
        """Give a hash of one scope: ``models``, ``policies``, ``leases``, ``keys``, or ``records`` of a kind."""
        return f"{self._tag}{what}:{path(*scope, *more)}"
