"""The test that every store must pass.

An adapter's test file is a subclass with a hook or two::

    from mcp_sdk.testing import StoreSuite

    class TestMyStore(StoreSuite):
        connected = True

        def store(self, place: Path, *, clock: Callable[[], float] = time.time) -> Store:
            return MyStore(f"mystore://localhost/{place.name}")

        async def cut(self, store: Store) -> None:
            await admin.kill_connections_of(store.client_name)

Each test drives its own event loop; no pytest plug-in is needed.
"""

from __future__ import annotations

from mcp_sdk.testing._scenarios import collect, move, scenario
from mcp_sdk.testing._store_changes import ChangeCases
from mcp_sdk.testing._store_clocks import ClockCases
from mcp_sdk.testing._store_records import RecordCases
from mcp_sdk.testing._store_sharing import SharingCases

__all__ = ["StoreSuite", "collect", "move", "scenario"]


class StoreSuite(ChangeCases, RecordCases, SharingCases, ClockCases):
    """What holds of every store.

    Subclass it, name the class ``Test…``, and give ``store``; where a handle talks to a server, ``cut`` too, and
    ``server_clock`` where the clock of one can be set.
    """
