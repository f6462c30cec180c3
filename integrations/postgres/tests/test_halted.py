"""A server over a PostgreSQL that stops answering."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="a server needs mcp-sdk[server]")
from halting import outlive
from lengths import LONG
from postgres_servers import PostgresServer

pytestmark = pytest.mark.services


@pytest.mark.skipif(not LONG, reason="for nox -s faults: the store alone is halted in test_faults, a Redis beside it")
def test_a_postgresql_that_stops_answering_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Callers get one clear 503, services decide on, memory stays bounded, and afterwards all goes on by itself."""
    with PostgresServer() as server:
        acknowledged = outlive(tmp_path, server.url(timeout=1, connect_timeout=2), server)
        assert set(acknowledged) <= {event for (event,) in server.rows("SELECT event_id FROM log")}
