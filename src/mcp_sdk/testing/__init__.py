"""Help for the tests of services that use the mesh, and of stores.

The pytest plug-in brings the fixture ``mesh``; see ``mcp_sdk.testing.plugin``. Names are imported when they are first
used, so that the plug-in costs little where no test asks for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp_sdk.testing.recording import Captured, Decided, RecordingMesh, recording_mesh
    from mcp_sdk.testing.runtime import FakeClock, SequentialIds
    from mcp_sdk.testing.stores import StoreSuite

__all__ = [
    "Captured",
    "Decided",
    "FakeClock",
    "RecordingMesh",
    "SequentialIds",
    "StoreSuite",
    "recording_mesh",
]

_HOMES = {"FakeClock": "runtime", "SequentialIds": "runtime", "StoreSuite": "stores"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'recording')}"), name)
