"""A tap on one replica shows the decisions of another over the same Redis."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("fastapi", reason="a server needs mcp-sdk[server]")
from looking import seen_across
from mcp_sdk_redis import connect
from redis_servers import RedisServer

pytestmark = pytest.mark.services


def test_a_tap_shows_what_another_replica_hears(serve: Callable[..., RedisServer]) -> None:
    """Each decision once, in order; afterwards nothing of it is in the store."""
    url = serve().url
    seen_across(connect(url, poll_interval=0.05), connect(url, poll_interval=0.05))
