"""What a replica counts, as Prometheus reads it (text format 0.0.4). Labels are bounded: no id of an entity is one."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from mcp_sdk.server.bodies import ROUTE

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mcp_sdk.ports import AppendResult
    from mcp_sdk.server.hub import Hub

__all__ = ["Counted", "Metrics"]

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
MOST_SCOPES = 100
FINE = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
"""Seconds: a decision takes microseconds."""


class Metrics:
    """The metrics of one replica, in a registry of its own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, hub: Hub) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(_Watched(hub))
        self.requests = Counter("mcp_sdk_requests", "Requests", ("method", "route", "status"), registry=registry)
        self._transitions = Counter("mcp_sdk_transitions", "Transitions, stored", ("status",), registry=registry)
        self._verdicts = Counter("mcp_sdk_decisions", "Decisions made here", ("verdict",), registry=registry)
        self._seconds = Histogram("mcp_sdk_decide_seconds", "One decision", buckets=FINE, registry=registry)

    def stored(self, results: Iterable[AppendResult]) -> None:
        """Count what became of transitions."""
        for status, count in Tally(result.status for result in results).items():
            self._transitions.labels(status.value).inc(count)

    def decided(self, verdict: str, seconds: float) -> None:
        """Count a decision and the time that it took."""
        self._verdicts.labels(verdict).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """Give everything in the text format."""
        return generate_latest(self._registry)


class _Watched(Collector):
    """Reads what the hub knows when it is asked."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Any]:
        hub = self._hub
        lives = hub.scopes[:MOST_SCOPES]
        yield GaugeMetricFamily("mcp_sdk_store_silence_seconds", "How long the store is away", value=hub.silence)
        yield CounterMetricFamily("mcp_sdk_stream_resyncs", "Times that a stream missed changes", value=hub.resyncs)
        open_now = sum(len(live.streams) + len(live.taps.onlookers) for live in hub.scopes)
        yield GaugeMetricFamily("mcp_sdk_streams_open", "Streams of clients and readers", value=open_now)
        revisions = GaugeMetricFamily(
            "mcp_sdk_policy_revision", "The revision in force", labels=("namespace", "environment", "epoch")
        )
        for live in lives:
            snapshot = live.decider.snapshot
            revisions.add_metric([*live.scope, str(snapshot.epoch)], snapshot.revision)
        yield revisions


class Counted:
    """Counts requests by route and status; a path that is no route of ours is ``other``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route: list[str] = []
        desk = scope["app"].state.desk
        leaving = desk.exits.leaving

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in METHODS else "other"
                desk.metrics.requests.labels(method, route[0] if route else "other", str(message["status"])).inc()
                if leaving():
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app({**scope, ROUTE: route}, receive, counting)
