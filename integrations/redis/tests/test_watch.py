"""A handle does not read back from Redis what it wrote itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from echoing import hears_without_reading, keeps_little
from mcp_sdk_redis import connect, rows
from redis_servers import RedisServer

pytestmark = pytest.mark.services


def test_a_watch_of_its_own_handle_reads_nothing_again(serve: Callable[..., RedisServer], monkeypatch: Any) -> None:
    """While only this handle appends, the entries of the log are not read."""
    store = connect(serve().url)
    hears_without_reading(store, lambda refuse: monkeypatch.setattr(rows, "applied", refuse))


def test_a_slow_watch_has_little_kept(serve: Callable[..., RedisServer]) -> None:
    """What is written for a watch that stands still takes 16 MB of this process at most, and all of it is heard."""
    keeps_little(connect(serve().url))
