"""The control plane on a server, ``http://`` and ``https://``: one stream, and every decision made here.

Snapshots come signed and are kept on disk as the last good one; contexts are fetched when a policy in force needs them.
While the server is away everything goes on by what is known: the status says so, and no request fails because of it.
"""

from __future__ import annotations

from concurrent.futures import Future

from mcp_sdk.clients.session import RemoteSession
from mcp_sdk.clients.snapshots import Trust
from mcp_sdk.config import Config
from mcp_sdk.control.loop import PerProcess
from mcp_sdk.control.plane import SessionControlPlane, Shared
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Identity
from mcp_sdk.residue import Residue
from mcp_sdk.telemetry import Telemetry

__all__ = ["RemoteControlPlane", "connect"]


def connect(url: str, *, identity: Identity, config: Config, telemetry: Telemetry) -> RemoteControlPlane:
    """Give a control plane on the server at ``url``; the entry points ``http`` and ``https``.

    Raises ``ConfigurationError`` for keys that are none and ``MissingExtra``; nothing is opened before ``start``.
    """
    return RemoteControlPlane(url, identity, config, telemetry)


class RemoteControlPlane(SessionControlPlane):
    """Decides in this process by what a server says is in force, and publishes to it.

    ``url`` may name several replicas, joined by commas; the next one is tried where one does not answer.
    """

    def __init__(self, url: str, identity: Identity, config: Config, telemetry: Telemetry) -> None:
        shared, trust = Shared(identity, config, telemetry), Trust(config.trusted_keys)
        urls = tuple(part.strip().rstrip("/") for part in url.split(",") if part.strip())
        self._remote = PerProcess(lambda: RemoteSession(shared, urls, trust))
        super().__init__(shared, self._remote.get)

    def consult(self, request: DecisionRequest) -> Future[Decision] | None:
        """Have a question decided by the server, for a thin client; its exception is ``StoreUnavailable``."""
        if self._shared.config.evaluation == "local":
            return None
        self._begun()
        session = self._remote.get()
        return session.loop.submit(lambda: session.consult(request))

    def decided(self, decision: Decision) -> None:
        """Count a decision of a rollout that was made here: the server counts those that it makes for a thin client."""
        if self._shared.config.evaluation == "local":
            super().decided(decision)

    def residue(self, request: DecisionRequest, model: BusinessModel) -> Residue:
        """Tell of which entities a request would be permitted; raises ``ConfigurationError`` in a thin client."""
        if self._shared.config.evaluation == "server":
            raise ConfigurationError("lists are filtered by policies that are here. Set MCP_SDK_EVALUATION=local")
        return super().residue(request, model)
