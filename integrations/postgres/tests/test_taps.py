"""A tap on one replica shows the decisions of another over the same PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="a server needs mcp-sdk[server]")
from looking import seen_across
from mcp_sdk_postgres import connect
from schemas import Schemas

pytestmark = pytest.mark.services


def test_a_tap_shows_what_another_replica_hears(schemas: Schemas, tmp_path: Path) -> None:
    """Each decision once, in order; afterwards nothing of it is in the store."""
    url = schemas.url(tmp_path)
    seen_across(connect(url, poll_interval=0.05), connect(url, poll_interval=0.05))
