"""What a replica does while its store answers nothing, neither with yes nor with no: the same for every store."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import httpx
from lengths import length
from posting import lanes, refusal
from serving import Replica, resident

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.ports import Status
from mcp_sdk.snapshot import PolicyRevision

__all__ = ["Halting", "outlive"]

OUTAGE = length(3.0, 60.0)
"""Seconds for which the store is halted."""
BACK = 40.0
"""Seconds within which all is as before, on a machine that does other work."""
ORDER = BusinessModel("order", states=("created", "paid"))
POLICY = """
kind: AccessPolicy
metadata: {name: a}
spec:
  target: {service: shop}
  default: permit
"""
AWAY = (503, "store-unavailable", "1")


class Halting(Protocol):
    """A server of a store whose processes can be halted, and let go on."""

    def halt(self) -> None:
        """Have it take no step any more."""

    def resume(self) -> None:
        """Have it go on."""


def outlive(directory: Path, url: str, server: Halting) -> list[str]:
    """Halt a store under load and let it go on; give the ids of the events that were acknowledged."""
    with Replica(directory, url) as replica:
        settings: dict[str, Any] = {"control_plane": replica.url, "token": replica.token, "start_timeout": 30.0}
        with Mesh(Config(service="shop", **settings), models=[ORDER]) as mesh, lanes(*[replica] * 6) as posting:
            mesh.control_plane.apply(PolicyRevision(0, {}, {"a.yaml": POLICY})).result(30)
            until(lambda: all(len(lane.acknowledged) > 50 for lane in posting))
            before = resident(replica.pid)
            server.halt()
            try:
                _suffer(replica, mesh, time.monotonic() + OUTAGE)
                grown = resident(replica.pid) - before
            finally:
                server.resume()
            print(f"halted for {OUTAGE:g} s: memory grew by {grown / 2**20:.1f} MB")
            assert grown < 60 * 2**20
            stored = [len(lane.acknowledged) for lane in posting]
            went = until(lambda: all(len(lane.acknowledged) > was for lane, was in zip(posting, stored, strict=True)))
            longest = max(lane.longest for lane in posting)
            print(f"as before {went:.1f} s after it went on; the longest answer took {longest:.1f} s")
            until(lambda: mesh.control_plane.status() is Status.READY and _ask(replica, "GET", "/readyz")[0] == 200)
            assert mesh.control_plane.flush(BACK)
            assert set().union(*(lane.refusals for lane in posting)) == {AWAY}
        return [event for lane in posting for event in lane.acknowledged]


def _suffer(replica: Replica, mesh: Mesh, until_: float) -> None:
    """Ask for what needs the store, which is refused in one way, while decisions go on in the service."""
    mesh.publish("order", "meanwhile", state="paid")
    refused = set()
    while time.monotonic() < until_:
        assert mesh.control_plane.decide(DecisionRequest("shop", "GET /x")).permitted
        refused.add(_ask(replica, "GET", "/v1/contexts/order"))
        assert _ask(replica, "GET", "/healthz")[0] == 200
    assert refused == {AWAY}


def _ask(replica: Replica, method: str, path: str) -> tuple[int, str, str]:
    headers = {"authorization": f"Bearer {replica.token}"}
    answer = httpx.request(method, replica.url + path, headers=headers, trust_env=False, timeout=30)
    return (200, "", "") if answer.status_code == 200 else refusal(answer)


def until(holds: Callable[[], object]) -> float:
    """Wait until something holds; give how long that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + BACK, "it did not come to hold in time"
        time.sleep(0.02)
    return time.monotonic() - began
