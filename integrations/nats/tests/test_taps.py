"""A tap on one replica shows the decisions of another over the same NATS."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="a server needs mcp-sdk[server]")
from looking import seen_across
from mcp_sdk_nats import connect
from nats_servers import Nats

pytestmark = pytest.mark.services


def test_a_tap_shows_what_another_replica_hears(server: Nats) -> None:
    """Each decision once, in order; afterwards nothing of it is in the store."""
    url = server.url
    seen_across(connect(url, poll_interval=0.05), connect(url, poll_interval=0.05))
