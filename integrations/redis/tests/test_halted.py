"""A server over a Redis that stops answering."""

from __future__ import annotations

import json
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

pytest.importorskip("fastapi", reason="a server needs mcp-sdk[server]")
from halting import outlive
from redis_servers import RedisServer

pytestmark = pytest.mark.services


class Halted(RedisServer):
    """A Redis that can be halted."""

    def halt(self) -> None:
        self.send(SIGSTOP)

    def resume(self) -> None:
        self.send(SIGCONT)


def test_a_redis_that_stops_answering_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Callers get one clear 503, services decide on, memory stays bounded, and afterwards all goes on by itself."""
    server = Halted(tmp_path / "redis")
    try:
        acknowledged = outlive(tmp_path, f"{server.url}?timeout=1", server)
        with server.client() as client:
            lines = [json.loads(line) for line in client.hvals("{mcp_sdk}:log")]
        assert set(acknowledged) <= {row[2] for _, status, _, row in lines if status == "a"}
    finally:
        server.stop()
