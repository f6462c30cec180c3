"""The control plane inside the process, over a store."""

from __future__ import annotations

from mcp_sdk._plugins import STORES, load
from mcp_sdk.config import Config
from mcp_sdk.control.plane import SessionControlPlane, Shared
from mcp_sdk.control.session import Session
from mcp_sdk.ports import Identity, Store
from mcp_sdk.telemetry import Telemetry

__all__ = ["LocalControlPlane", "connect"]


def connect(url: str, *, identity: Identity, config: Config, telemetry: Telemetry) -> LocalControlPlane:
    """Give a control plane over the store that is installed for ``url``; the entry points ``memory`` and ``sqlite``.

    Raises ``UnknownPlugin``, ``MissingExtra`` and ``ConfigurationError``; nothing is opened before ``start``.
    """
    store = load(STORES, url)(url, poll_interval=config.poll_interval)
    return LocalControlPlane(store, identity, config, telemetry)


class LocalControlPlane(SessionControlPlane):
    """Decides in this process by what a store holds, and publishes to it."""

    def __init__(self, store: Store, identity: Identity, config: Config, telemetry: Telemetry) -> None:
        self._store = store
        shared = Shared(identity, config, telemetry)
        super().__init__(shared, lambda: Session(shared, store))
