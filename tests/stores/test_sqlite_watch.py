"""A process that writes to a SQLite file does not read its own entries back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from echoing import hears_without_reading

from mcp_sdk.stores import _sqlite_log as log
from mcp_sdk.stores.sqlite import SqliteStore


def test_a_watch_of_its_own_process_reads_nothing_again(tmp_path: Path, monkeypatch: Any) -> None:
    """While only this process appends, the entries of the log are not read."""
    store = SqliteStore(tmp_path / "mesh.db", poll_interval=60)
    hears_without_reading(store, lambda refuse: monkeypatch.setattr(log, "applied_from_row", refuse))
