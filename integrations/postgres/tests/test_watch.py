"""A handle does not read back from PostgreSQL what it wrote itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from echoing import hears_without_reading
from mcp_sdk_postgres import connect, log
from schemas import Schemas

pytestmark = pytest.mark.services


def test_a_watch_of_its_own_handle_reads_nothing_again(schemas: Schemas, tmp_path: Path, monkeypatch: Any) -> None:
    """While only this handle appends, the entries of the log are not read."""
    store = connect(schemas.url(tmp_path))
    hears_without_reading(store, lambda refuse: monkeypatch.setattr(log, "applied_from_row", refuse))
