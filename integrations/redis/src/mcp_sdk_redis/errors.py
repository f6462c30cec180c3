"""Failures of Redis and of the network, in words that help.

Whoever cannot reach the server, or finds it unable for now, is told ``StoreUnavailable``: trying again may work. What
an operator has to mend first is ``StoreError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import exceptions as told

from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk.snapshot import canonical

__all__ = ["KeptOut", "encoded", "failures", "plain"]

_PASSING = {
    "LOADING": "is reading its data set from disk after a start. It answers when that is done",
    "READONLY": "is a replica, and takes no writes. Name the primary; after a failover this passes",
    "OOM": (
        "has reached maxmemory, and stored nothing. Raise maxmemory, or keep less: log_age and log_size in the URL, "
        "retention of the models"
    ),
    "MISCONF": "refuses writes because it cannot save to disk. Look at its log: is the disk full?",
    "MASTERDOWN": "is a replica that lost its primary",
    "NOREPLICAS": "refuses writes: fewer replicas are connected than min-replicas-to-write",
    "CLUSTERDOWN": "is part of a cluster that does not serve all its slots",
    "TRYAGAIN": "is moving slots between its nodes",
    "BUSY": "is busy with a script that runs for long",
    "UNBLOCKED": "changed its role",
    "NOGOODSLAVE": "has no replica that can take over",
}
_LASTING = {
    "WRONGPASS": "refuses user name or password. Check them in the URL",
    "NOAUTH": "wants a password. Write it into the URL: redis://user:password@host",
    "NOPERM": "lets this user do less than the store needs. Its ACL must allow the commands and keys of docs/stores.md",
    "WRONGTYPE": "holds other data under keys of the store. Choose another name with ?prefix=NAME",
    "MOVED": "is part of a cluster. Write redis+cluster:// instead of redis://",
    "CROSSSLOT": "is a cluster that takes the keys of the store for keys of several slots",
}
_KEPT_OUT = frozenset({"WRONGPASS", "NOAUTH", "NOPERM"})
_CLASSES = (
    (told.AuthenticationError, "WRONGPASS"),
    (told.NoPermissionError, "NOPERM"),
    (told.BusyLoadingError, "LOADING"),
    (told.ReadOnlyError, "READONLY"),
    (told.OutOfMemoryError, "OOM"),
    (told.MasterDownError, "MASTERDOWN"),
    (told.ClusterDownError, "CLUSTERDOWN"),
    (told.TryAgainError, "TRYAGAIN"),
    (told.MovedError, "MOVED"),
    (told.ClusterCrossSlotError, "CROSSSLOT"),
)


class KeptOut(StoreError):
    """Redis judges who asks, not what is asked: a password or an ACL is to be mended."""


def encoded(text: str) -> bytes:
    """Give a text as UTF-8; raises ``StoreError`` for what is no Unicode."""
    try:
        return text.encode()
    except UnicodeError as error:
        raise StoreError(f"Redis cannot hold this: {error}") from error


def plain(content: Any) -> bytes:
    """Give plain JSON as UTF-8; raises ``StoreError`` for what is no Unicode."""
    try:
        return canonical(content)
    except UnicodeError as error:
        raise StoreError(f"Redis cannot hold this: {error}") from error


@contextmanager
def failures(address: str) -> Iterator[None]:
    """Turn what redis-py and the network raise inside the block into ``StoreUnavailable`` or ``StoreError``."""
    try:
        yield
    except UnicodeError as error:
        raise StoreError(f"{address} cannot hold this: {error}") from error
    except (told.RedisError, told.RedisClusterException) as error:
        raise _explained(address, error) from error
    except (TimeoutError, OSError) as error:
        raise StoreUnavailable(f"{address} cannot be reached: {error or type(error).__name__}.") from error


def _explained(address: str, error: Exception) -> StoreError:
    code = next((code for kind, code in _CLASSES if isinstance(error, kind)), str(error).partition(" ")[0])
    if isinstance(error, told.AuthenticationError) and "without any password" in str(error):
        return KeptOut(f"{address} has no password set, and the URL holds one. Take it out. (Redis: {error})")
    if code in _PASSING:
        return StoreUnavailable(f"{address} {_PASSING[code]}. (Redis: {error})")
    if code in _LASTING:
        kind = KeptOut if code in _KEPT_OUT else StoreError
        return kind(f"{address} {_LASTING[code]}. (Redis: {error})")
    if isinstance(error, (told.ConnectionError, told.TimeoutError, told.RedisClusterException)):
        return StoreUnavailable(f"{address} cannot be reached: {error or type(error).__name__}. Does it run?")
    return StoreError(f"{address} refused: {error or type(error).__name__}")
