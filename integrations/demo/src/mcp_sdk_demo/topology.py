"""What the shop runs: one entry a process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["TOPOLOGY", "Process", "expected_endpoints"]


@dataclass(frozen=True)
class Process:
    """One process: an instance of a service. ``server`` runs ``app`` of a module in the package ``shop``."""

    instance: str
    service: str
    module: str
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    server: str = "uvicorn"

    def environment(self, url: str) -> dict[str, str]:
        """Give the settings of its mesh as environment variables."""
        return {
            "MCP_SDK_SERVICE": self.service,
            "MCP_SDK_INSTANCE": self.instance,
            "MCP_SDK_VERSION": self.version,
            "MCP_SDK_LABELS": ",".join(f"{name}={value}" for name, value in self.labels.items()),
            "MCP_SDK_URL": url,
        }


TOPOLOGY = (
    Process("order-v1", "order-service", "orders", "v1", {"class": "standard"}),
    Process("order-v2", "order-service", "orders", "v2", {"class": "standard"}),
    Process("order-performance", "order-service", "orders", "v2-turbo", {"class": "performance"}),
    Process("recommendation-v1", "recommendation", "recommendation", "v1"),
    Process("recommendation-v2", "recommendation", "recommendation", "v2"),
    Process("inventory", "inventory", "inventory", server="waitress"),
    Process("payment", "payment", "payment", server="waitress"),
    Process("gateway", "gateway", "gateway"),
)
"""The performance instance has a version of its own, so that only a rule that asks for its class reaches it."""


def expected_endpoints() -> dict[str, int]:
    """Give the number of instances by service."""
    return dict(Counter(process.service for process in TOPOLOGY))
