"""Services, their endpoints, and the subsets of endpoints that a route names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mcp_sdk.exceptions import ConfigurationError

__all__ = ["NAMES", "Endpoint", "Service", "Subset", "is_name"]

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,198}[A-Za-z0-9])?\Z")
NAMES = "a name is letters, digits and . _ - / inside, at most 200"
"""What ``is_name`` takes, as messages say it."""


def is_name(text: str) -> bool:
    """Tell whether policies can name a service or a namespace so, or be named so themselves."""
    return _NAME.match(text) is not None


@dataclass(frozen=True)
class Subset:
    """Some of a service's endpoints: those of a ``version``, or those that carry every one of ``labels``."""

    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))

    def matches(self, endpoint: Endpoint) -> bool:
        """Tell whether an endpoint belongs to this subset; the empty subset holds all."""
        if self.version and endpoint.version != self.version:
            return False
        return all(endpoint.labels.get(name) == value for name, value in self.labels.items())

    def __str__(self) -> str:
        parts = ([f"version={self.version}"] if self.version else []) + [
            f"{k}={v}" for k, v in sorted(self.labels.items())
        ]
        return ",".join(parts) or "any"


@dataclass(frozen=True)
class Endpoint:
    """One address that serves a service: ``url`` is scheme, host and port (``http://127.0.0.1:8080``).

    ``weight`` is relative among the endpoints of a subset; 0 takes no traffic. ``instance`` names the process.
    ``load`` is the number of requests in flight when last heard of; it travels outside snapshots.
    """

    service: str
    url: str
    instance: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    zone: str = ""
    load: float = 0.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ConfigurationError(f"endpoint {self.url}: weight is {self.weight}; it cannot be negative")
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))

    def to_dict(self) -> dict[str, Any]:
        """Give the endpoint as plain JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"labels": dict(self.labels)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Endpoint:
        """Read what ``to_dict`` wrote."""
        return cls(**plain)


@dataclass(frozen=True)
class Service:
    """A service and the endpoints that are alive."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()

    def subset(self, subset: Subset) -> tuple[Endpoint, ...]:
        """Give the endpoints of a subset, in registration order."""
        return tuple(endpoint for endpoint in self.endpoints if subset.matches(endpoint))
