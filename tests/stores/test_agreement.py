"""Laws of the stores, found out by random work: SQLite says and holds what memory does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from agreement import Agreement
from hypothesis import settings

from mcp_sdk.ports import Store
from mcp_sdk.stores.memory import MemoryStore
from mcp_sdk.stores.sqlite import SqliteStore


class SqliteAgreement(Agreement):
    def make(self) -> SqliteStore:
        self.place = Path(tempfile.mkdtemp())
        return SqliteStore(self.place / "mesh.db", poll_interval=0.01)

    def clear(self) -> None:
        shutil.rmtree(self.place)


TestAgreement = SqliteAgreement.TestCase
TestAgreement.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


def test_the_port_is_what_both_implement():
    """Neither store has public methods beyond the port, so what works with one works with the other."""
    for store in (MemoryStore, SqliteStore):
        assert {name for name in vars(store) if not name.startswith("_")} <= set(vars(Store))
