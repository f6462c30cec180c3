"""What can be set of a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcp_sdk.server.access.rates import Rate

__all__ = ["ServerSettings"]


@dataclass(frozen=True)
class ServerSettings:
    """Settings of one replica. Times are in seconds, sizes in bytes.

    ``store`` is a URL as services take it. ``body_size`` bounds the body of a request, ``bodies`` all that are under
    way, ``answers`` all large answers that are, ``streams`` how many streams a replica holds at once, ``scopes`` how
    many namespaces and environments it knows, ``endpoints`` how many endpoints are announced in one of these,
    ``service_endpoints`` how many of one service there, ``outbox`` the frames that wait for a slow reader before it has
    to read anew. ``body_time`` is what a body may take to arrive, ``head_time`` what headers may, and the first frame
    of a stream, ``write_time`` how long a reader may take nothing of what waits for it. A server that is told to stop
    is unready for ``notice`` before streams get ``drain`` to leave, and requests as much to end. ``staleness`` is how
    long a replica goes on deciding by what it knows after it last heard its store. ``oidc_issuer`` is whose bearer
    tokens are taken, for ``oidc_audience``; ``rates`` are how fast one caller may ask, by kind of work (see
    ``rates.DEFAULTS``). ``housekeeping`` is how often outlived entities are erased, by one replica for all,
    ``rollout_check`` how often rollouts are looked after.
    """

    store: str = "sqlite:///mesh.db"
    mesh: str = "default"
    poll_interval: float = 0.05
    body_size: int = 8 * 1024 * 1024
    bodies: int = 64 * 1024 * 1024
    answers: int = 64 * 1024 * 1024
    frame_size: int = 1024 * 1024
    streams: int = 10_000
    scopes: int = 10_000
    endpoints: int = 10_000
    service_endpoints: int = 2_000
    outbox: int = 1_000
    holds: int = 10_000
    batch: int = 1_000
    body_time: float = 30.0
    head_time: float = 10.0
    write_time: float = 30.0
    notice: float = 1.0
    drain: float = 5.0
    lease_check: float = 2.0
    staleness: float = 30.0
    oidc_issuer: str = ""
    oidc_audience: str = ""
    rates: Mapping[str, Rate] = field(default_factory=dict)
    housekeeping: float = 60.0
    rollout_check: float = 1.0
