"""The test that every store must pass.

An adapter's test file is a subclass with one hook::

    from mcp_sdk.testing import StoreSuite

    class TestMyStore(StoreSuite):
        def store(self, place: Path) -> Store:
            return MyStore(f"mystore://localhost/{place.name}")

Each test drives its own event loop; no pytest plug-in is needed.
"""

from __future__ import annotations

from mcp_sdk.testing._scenarios import collect, move, scenario
from mcp_sdk.testing._store_changes import ChangeCases
from mcp_sdk.testing._store_records import RecordCases

__all__ = ["StoreSuite", "collect", "move", "scenario"]


class StoreSuite(ChangeCases, RecordCases):
    """What holds of every store. Subclass it, name the class ``Test…``, and give ``store``."""
