"""A service with the token that the documentation tells to make for it: no more than a publisher of one service."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import httpx
import pytest
from relay import Relay
from serving import Replica
from waiting import until

from mcp_sdk import BusinessModel, Mesh
from mcp_sdk.clients import api, attentive, session
from mcp_sdk.context import EntityRef, ModelContext, Transition, Trust
from mcp_sdk.decisions import Decision, DecisionRequest, Denied, Permit, Phase
from mcp_sdk.exceptions import StoreError
from mcp_sdk.ports import ControlPlane, Status
from mcp_sdk.services import Endpoint

ORDER = BusinessModel("order", states=("created", "paid"))
REF = EntityRef("order", "o-1")
PATIENCE = 60.0
POLICY = """
kind: AccessPolicy
metadata: {name: NAME}
spec:
  target: {service: NAME}
  default: DEFAULT
  rules:
  - {name: paid, when: "has(order.state) && order.state == 'paid'", effect: deny}
"""


def token_of(replica: Replica, service: str, role: str) -> str:
    """Make the token of a service as an operator does."""
    command = [sys.executable, "-m", "mcp_sdk.cli", "token", "create", "--role", role, "--service", service]
    known = {**os.environ, "MCP_SDK_CONTROL_PLANE": replica.url, "MCP_SDK_TOKEN": replica.token}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=known).stdout.strip()


def service(replica: Replica, name: str = "shop", role: str = "publisher", **settings: Any) -> Mesh:
    """Give the mesh of a service that has its own token."""
    config: dict[str, Any] = {"control_plane": replica.url, "token": token_of(replica, name, role), "linger": 0.001}
    return Mesh(service=name, models=[ORDER], start_timeout=PATIENCE, fetch_timeout=5.0, **config | settings)


def put(replica: Replica, default: str, replaces: int, others: int = 0) -> None:
    """Put a policy of the shop in force, beside policies of so many others."""
    names = ["shop", *(f"other-{number}" for number in range(others))]
    sources = {f"{name}.yaml": POLICY.replace("NAME", name).replace("DEFAULT", default) for name in names}
    body = {"sources": sources, "replaces": replaces, "models": [ORDER.to_dict()]}
    headers = {"authorization": f"Bearer {replica.token}"}
    url = f"{replica.url}/v1/policies"
    assert httpx.post(url, json=body, headers=headers, timeout=PATIENCE, trust_env=False).status_code == 200


def permitted(plane: ControlPlane) -> bool:
    """Tell whether the shop takes a call."""
    return plane.decide(DecisionRequest("shop", "GET /orders")).permitted


def asked(mesh: Mesh, service: str, **known: Any) -> Decision:
    """Have the server decide a call."""
    return mesh.control_plane.consult(DecisionRequest(service, "GET /orders", **known)).result(PATIENCE)


def lose_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next part that is asked for be one that is in force no longer."""
    real, gone = api.part, iter(["0" * 64])
    monkeypatch.setattr(api, "part", lambda scope, digest: real(scope, next(gone, digest)))


def test_a_service_hears_of_policies_of_any_size(replica: Replica) -> None:
    """What is too large for a frame of the stream is fetched, and what it refuses is refused."""
    with service(replica) as shop:
        put(replica, "permit", 0)
        until(lambda: permitted(shop.control_plane))
        put(replica, "deny", 1, others=400)
        until(lambda: not permitted(shop.control_plane))
        until(lambda: shop.control_plane.status() is Status.READY)
    with service(replica) as late:
        assert late.control_plane.status() is Status.READY
        assert not permitted(late.control_plane)


def test_a_service_does_what_a_service_does(replica: Replica) -> None:
    """It declares, publishes, looks up, lists, reads back, announces itself, and hears of what others say."""
    with service(replica) as shop, service(replica, "till") as till:
        plane = shop.control_plane
        heard: list[str] = []

        @shop.on_transition("order")
        def hear(transition: Transition) -> None:
            heard.append(transition.to_state)

        plane.register(Endpoint("shop", "http://127.0.0.1:1")).result(PATIENCE)
        till.publish("order", "o-1", state="created")  # which it does not own: the server says so, and nothing more
        shop.publish("order", "o-1", state="paid")
        assert plane.flush(PATIENCE)
        until(lambda: heard == ["paid"])
        assert till.control_plane.fetch([REF]).result(PATIENCE)[REF].state == "paid"
        assert [context.entity_id for context in plane.list("order").result(PATIENCE).contexts] == ["o-1"]
        assert [applied.context.state for applied in plane.history(REF).result(PATIENCE)] == ["paid"]
        until(lambda: [each.service for each in till.control_plane.endpoints("shop")] == ["shop"])
        assert plane.policies().result(PATIENCE) is None


def test_a_thin_service_asks_for_itself(replica: Replica) -> None:
    """With its own token a thin client has calls on itself, and its own calls on others, decided by the server."""
    with service(replica, evaluation="server") as shop:
        put(replica, "deny", 0, others=1)
        until(lambda: isinstance(asked(shop, "shop").verdict, Denied))
        assert isinstance(asked(shop, "other-0", phase=Phase.OUTBOUND).verdict, Permit)
        with pytest.raises(StoreError, match="may not decide in default/default, service 'other-0'"):
            asked(shop, "other-0")


def test_a_thin_viewer_is_believed_nothing(replica: Replica) -> None:
    """What a caller says of entities that may not publish is looked up instead."""
    paid = {"order": ModelContext("order", "o-1", "paid", trust=Trust.LOCAL)}
    with service(replica, role="viewer", evaluation="server") as looker:
        put(replica, "permit", 0)
        until(lambda: isinstance(asked(looker, "shop").verdict, Permit))
        assert isinstance(asked(looker, "shop", contexts=paid).verdict, Permit)
        with service(replica) as shop:
            shop.publish("order", "o-1", state="paid")
            assert shop.control_plane.flush(PATIENCE)
        assert isinstance(asked(looker, "shop", contexts=paid).verdict, Denied)


def test_a_part_that_cannot_be_had_is_asked_for_again(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is refused a part of what is in force is stale, and asks until it is given."""
    real = api.part
    with service(replica) as shop:
        put(replica, "permit", 0)
        until(lambda: permitted(shop.control_plane))
        monkeypatch.setattr(api, "part", lambda scope, digest: replace(real(scope, digest), path="/v1/parts/none"))
        put(replica, "deny", 1, others=400)
        until(lambda: shop.control_plane.status() is Status.STALE)
        assert "cannot be had" in shop.control_plane.why
        monkeypatch.undo()
        until(lambda: not permitted(shop.control_plane))
        until(lambda: shop.control_plane.status() is Status.READY)


def test_a_part_that_was_overtaken_costs_no_stream(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a newer manifest waits already it is taken, over the same stream."""
    with service(replica) as shop:
        put(replica, "permit", 0)
        until(lambda: permitted(shop.control_plane))
        lose_a_part(monkeypatch)
        put(replica, "permit", 1, others=400)
        put(replica, "deny", 2, others=401)
        until(lambda: not permitted(shop.control_plane))
        until(lambda: shop.control_plane.status() is Status.READY)
    assert "the control plane is" not in caplog.text


def test_where_no_newer_manifest_comes_the_stream_begins_anew(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that is said to be overtaken, and is not, is asked for again."""
    monkeypatch.setattr(session, "OVERTAKEN", 0.2)
    with service(replica) as shop:
        put(replica, "permit", 0)
        until(lambda: permitted(shop.control_plane))
        lose_a_part(monkeypatch)
        put(replica, "deny", 1, others=400)
        until(lambda: not permitted(shop.control_plane))
        until(lambda: shop.control_plane.status() is Status.READY)


def test_a_stream_that_falls_silent_is_given_up(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a network swallows what either says, the client is stale, and ready again once it does not."""
    monkeypatch.setattr(attentive, "PING", 0.2)
    monkeypatch.setattr(attentive, "SILENCE", 0.5)
    with Relay(replica.port) as relay, service(replica, control_plane=f"http://127.0.0.1:{relay.port}") as shop:
        until(lambda: shop.control_plane.status() is Status.READY)
        relay.hold()
        until(lambda: shop.control_plane.status() is Status.STALE)
        relay.release()
        until(lambda: shop.control_plane.status() is Status.READY)


def test_a_slow_link_is_no_silence(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longer than an answer to a ping may is taken whole, for its bytes go on coming."""
    monkeypatch.setattr(attentive, "PING", 0.2)
    monkeypatch.setattr(attentive, "SILENCE", 1.0)
    with service(replica) as shop:
        shop.publish("order", "o-1", state="paid", note="x" * 900_000)
        assert shop.control_plane.flush(PATIENCE)
    with (
        Relay(replica.port, rate=300_000) as relay,
        service(replica, control_plane=f"http://127.0.0.1:{relay.port}") as slow,
    ):
        assert slow.control_plane.fetch([REF]).result(PATIENCE)[REF].state == "paid"
