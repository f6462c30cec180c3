"""A policy change that is rolled out in stages, over real servers, streams and services."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from minting import mint_client
from relay import Relay
from serving import Replica
from waiting import until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from mcp_sdk import BusinessModel, Config, DecisionRequest, Mesh, ModelContext
from mcp_sdk.decisions import Principal
from mcp_sdk.middleware import MeshMiddleware
from mcp_sdk.ports import Status
from mcp_sdk.server.access.callers import Grant

ORDER = BusinessModel("order", states=("created", "paid", "shipped"))
PATIENCE = 30.0
POLICY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: a, namespace: default}}
spec:
  target: {{service: shop}}
  default: permit
  rules:
  - {{name: state, when: "has(order.state) && order.state == '{state}'", effect: deny}}
"""
NOW, LONG = 0.0, 3600.0


def sources(state: str) -> dict[str, str]:
    """Give a policy set that refuses orders in a state."""
    return {"a.yaml": POLICY.format(state=state)}


@pytest.fixture
def admin(replica: Replica, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """Asks as an admin of an environment of the test's own, whose revision 1 refuses shipped orders."""
    headers = {"authorization": f"Bearer {replica.token}"}
    here = {"environment": re.sub(r"\W+", "-", request.node.name)}
    with httpx.Client(base_url=replica.url, headers=headers, params=here, trust_env=False, timeout=20) as client:
        assert client.post("/v1/models", json={"models": [ORDER.to_dict()]}).status_code == 204
        assert client.post("/v1/policies", json={"sources": sources("shipped"), "replaces": 0}).status_code == 200
        yield client


@contextmanager
def shop(replica: Replica, admin: httpx.Client, url: str = "", **settings: Any) -> Iterator[Mesh]:
    """A service on the server, in the environment of ``admin``, that has its policies."""
    settings |= {"environment": admin.params["environment"], "token": replica.token, "start_timeout": PATIENCE}
    config = Config(service="shop", control_plane=url or replica.url, **settings)
    mesh = Mesh(config, models=[ORDER])
    mesh.start()
    try:
        if config.evaluation == "server":
            until(lambda: mesh.control_plane.status() is Status.READY)
        else:
            until(lambda: mesh.control_plane.snapshot().revision >= 1)
        yield mesh
    finally:
        mesh.close()


def begin(client: httpx.Client, state: str, *stages: tuple[float, float], **limits: Any) -> dict[str, Any]:
    """Begin to roll a policy set out, and give the rollout."""
    answer = client.post("/v1/rollouts", json=plan(state, *stages, **limits))
    assert answer.status_code == 201, answer.text
    begun: dict[str, Any] = answer.json()["rollout"]
    return begun


def plan(state: str, *stages: tuple[float, float], replaces: int = 1, **limits: Any) -> dict[str, Any]:
    """Give what is to be rolled out."""
    told = [{"share": share, "seconds": seconds} for share, seconds in stages]
    return {"sources": sources(state), "replaces": replaces, "stages": told, "limits": {"minimum": 20, **limits}}


def now(client: httpx.Client) -> dict[str, Any]:
    """Give the last rollout."""
    found: dict[str, Any] = client.get("/v1/rollouts").json()
    return found


def anywhere(client: httpx.Client, method: str, path: str, **said: Any) -> httpx.Response:
    """Ask what is of no environment, or has it in its body."""
    return httpx.request(
        method, f"{client.base_url}{path}", headers=client.headers, trust_env=False, timeout=20, **said
    )


def calls(mesh: Mesh, state: str, count: int = 1) -> list[bool]:
    """Decide calls of as many principals on an order in a state; tell which were permitted."""
    contexts = {"order": ModelContext("order", "o-1", state)}
    requests = (
        DecisionRequest("shop", "GET /orders", contexts=contexts, principal=Principal(str(n), authenticated=True))
        for n in range(count)
    )
    return [mesh.decide(request).permitted for request in requests]


def trying(mesh: Mesh, stage: int) -> bool:
    """Tell whether a service tries the candidate in a stage."""
    rolled = mesh.control_plane.decide(DecisionRequest("shop", "GET /orders")).rolled
    return rolled is not None and rolled.stage == stage


def test_a_change_goes_from_shadow_over_a_share_to_all(replica: Replica, admin: httpx.Client) -> None:
    """What is in force stays until the end; each stage is counted and audited."""
    with shop(replica, admin) as mesh:
        begin(admin, "created", (0.0, NOW), (0.5, NOW), refusals=1.0)
        until(lambda: trying(mesh, 0))
        assert all(calls(mesh, "created", 40))
        until(lambda: trying(mesh, 1))
        permitted = calls(mesh, "created", 200)
        assert 50 < sum(permitted) < 150
        until(lambda: mesh.control_plane.snapshot().revision == 2)
        assert not any(calls(mesh, "created", 40))
    until(lambda: now(admin)["rollout"]["status"] != "running")
    ended = now(admin)["rollout"]
    assert (ended["status"], ended["reason"]) == ("done", "revision 2")
    shadow, share = ended["history"]
    assert (shadow["decisions"], shadow["newly_refused"]) == (40, 40)
    assert share["candidate_decisions"] == 200 - sum(permitted)
    assert audited(admin, ended["id"]) == ["rollout.begin", "rollout.advance", "rollout.done"]


def test_more_refusals_than_the_limit_stop_it_in_shadow(replica: Replica, admin: httpx.Client) -> None:
    """Nobody was refused, and what was in force stays."""
    with shop(replica, admin) as mesh:
        begin(admin, "created", (0.0, LONG), (0.5, LONG))
        until(lambda: trying(mesh, 0))
        assert all(calls(mesh, "created", 30))
        until(lambda: now(admin)["rollout"]["status"] == "stopped")
        assert "more decisions refused" in now(admin)["rollout"]["reason"]
        until(lambda: not trying(mesh, 0))
        assert mesh.control_plane.snapshot().revision == 1


@pytest.mark.anyio
@pytest.mark.parametrize("evaluation", ["local", "server"])
async def test_more_errors_than_before_stop_it_in_a_share(
    replica: Replica, admin: httpx.Client, evaluation: str
) -> None:
    """A route to what does not work, say: seen by how calls end that the candidate decided, here or at the server."""
    with shop(replica, admin, evaluation=evaluation, evaluation_timeout=10.0) as mesh:
        arms: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            arm = scope["mcp_sdk.decision"].rolled.arm
            arms.append(arm)
            status = 500 if arm == "candidate" else 200
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        def who(scope: Any) -> Principal:
            return Principal(dict(scope["headers"])[b"who"].decode(), authenticated=True)

        served = MeshMiddleware(app, mesh, principal=who)
        begin(admin, "paid", (0.5, LONG), refusals=1.0)
        if evaluation == "local":
            until(lambda: trying(mesh, 0))
        transport = httpx.ASGITransport(app=served)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            for number in range(100):
                await client.get("/orders", headers={"who": str(number)})
        assert set(arms) == {"candidate", "current"}
    until(lambda: now(admin)["rollout"]["status"] == "stopped")
    ended = now(admin)["rollout"]
    assert "more errors" in ended["reason"]
    assert ended["history"][0]["decisions"] <= 100  # each is counted once


def test_another_apply_meanwhile_supersedes_it(replica: Replica, admin: httpx.Client) -> None:
    """What an operator puts in force now goes before what was planned."""
    with shop(replica, admin) as mesh:
        begin(admin, "created", (1.0, LONG))
        until(lambda: not any(calls(mesh, "created")))
        assert admin.post("/v1/policies", json={"sources": sources("paid"), "replaces": 1}).status_code == 200
        until(lambda: mesh.control_plane.snapshot().revision == 2)
        assert all(calls(mesh, "created", 5))
        until(lambda: now(admin)["rollout"]["status"] == "superseded")
        assert admin.post("/v1/rollouts/advance").status_code == 404


def test_an_operator_advances_it_and_stops_it(replica: Replica, admin: httpx.Client) -> None:
    """Without traffic nothing is known, so it waits for that; its end clears what was kept for it."""
    begin(admin, "created", (0.0, NOW), (0.5, NOW))
    assert now(admin)["waits_for"] == "0 of 20 decisions counted"
    assert admin.post("/v1/rollouts/advance").json()["rollout"]["stage"] == 1
    assert admin.post("/v1/rollouts", json=plan("paid", (0.5, 1))).status_code == 409
    assert admin.post("/v1/rollouts/stop", json={"reason": "not today"}).json()["rollout"]["status"] == "stopped"
    assert admin.post("/v1/rollouts/stop", json={"reason": "not today"}).status_code == 404
    assert now(admin)["rollout"]["reason"] == "not today"
    begin(admin, "paid", (0.0, NOW))
    assert admin.post("/v1/rollouts/advance").json()["rollout"]["reason"] == "revision 2"


def test_a_service_that_lost_its_server_goes_on_by_what_is_in_force(replica: Replica, admin: httpx.Client) -> None:
    """Nobody could tell it that the candidate was stopped; nor could anybody tell one that starts from its disk."""
    with (
        Relay(replica.port) as relay,
        shop(replica, admin, f"http://127.0.0.1:{relay.port}", state_dir=str(replica.directory / "kept")) as mesh,
    ):
        begin(admin, "created", (1.0, LONG))
        until(lambda: not any(calls(mesh, "created")))
        relay.refusing = True
        relay.cut()
        until(lambda: all(calls(mesh, "created", 5)))
        with shop(replica, admin, f"http://127.0.0.1:{relay.port}", state_dir=str(replica.directory / "kept")) as cold:
            assert all(calls(cold, "created", 5))
        relay.refusing = False
        until(lambda: not any(calls(mesh, "created")))


def test_a_thin_client_is_decided_by_the_rollout_and_counted(replica: Replica, admin: httpx.Client) -> None:
    """Its server draws for it."""
    begin(admin, "created", (1.0, LONG), refusals=1.0)
    context = ModelContext("order", "o-1", "created").to_dict()
    question = {"service": "shop", "operation": "GET /orders", "contexts": [context], **admin.params}
    asked = [anywhere(admin, "POST", "/v1/decide", json=question) for _ in range(30)]
    assert {answer.json()["verdict"] for answer in asked} == {"deny"}, asked[0].text
    until(lambda: now(admin)["counts"].get("candidate_decisions") == 30)


def test_a_protected_kind_is_rolled_out_when_somebody_else_approved(replica: Replica, admin: httpx.Client) -> None:
    """The plan waits with the change."""
    assert admin.put("/v1/protections/AccessPolicy").status_code == 204
    answer = admin.post("/v1/rollouts", json=plan("created", (0.0, LONG), (0.5, LONG)))
    assert answer.status_code == 202
    assert now(admin)["rollout"] is None
    (waiting,) = admin.get("/v1/changes").json()["changes"]
    assert [stage["share"] for stage in waiting["plan"]["stages"]] == [0.0, 0.5]
    with mint_client(replica, Grant("operator")) as other:
        other.params = admin.params
        approved = other.post(f"/v1/changes/{answer.json()['change']}/approve")
    assert approved.json()["rollout"]["status"] == "running"
    assert [stage["share"] for stage in approved.json()["rollout"]["plan"]["stages"]] == [0.0, 0.5]


def held(admin: httpx.Client) -> str:
    """Wait until the rollout is held, and give the change by which it is."""
    until(lambda: now(admin)["rollout"]["status"] == "held")
    change = f"c-{now(admin)['rollout']['id'][2:]}"
    assert now(admin)["waits_for"] == (
        "AccessPolicy needs a second approver here. Somebody else does it with: "
        f"mcpctl approve {change} -e {admin.params['environment']}"
    )
    return change


def audited(admin: httpx.Client, target: str) -> list[str]:
    """Give what the audit log says was done with something."""
    entries = anywhere(admin, "GET", "/v1/audit", params={"limit": 1000}).json()["entries"]
    return [entry["what"] for entry in entries if entry["phase"] == "done" and entry["target"] == target]


@pytest.mark.parametrize("shares", [(0.0,), (0.0, 0.5), (0.5, 1.0)])
def test_a_kind_that_is_protected_meanwhile_holds_a_rollout(
    replica: Replica, admin: httpx.Client, shares: tuple[float, ...]
) -> None:
    """It stays in its stage, whoever says go on, until somebody else than its author approves it."""
    with shop(replica, admin) as mesh:
        begun = begin(admin, "created", *((share, NOW) for share in shares), minimum=20, refusals=1.0)
        assert admin.put("/v1/protections/AccessPolicy").status_code == 204
        until(lambda: trying(mesh, 0))
        calls(mesh, "created", 100)
        change = held(admin)
        assert admin.post("/v1/rollouts/advance").json()["rollout"]["status"] == "held"
        assert admin.post(f"/v1/changes/{change}/approve").json()["type"] == "urn:mcp-sdk:problem:same-person"
        (waiting,) = admin.get("/v1/changes").json()["changes"]
        assert (waiting["id"], waiting["rollout"], waiting["kinds"]) == (change, begun["id"], ["AccessPolicy"])
        assert (mesh.control_plane.snapshot().revision, trying(mesh, 0)) == (1, True)
        with mint_client(replica, Grant("operator")) as other:
            other.params = admin.params
            approved = other.post(f"/v1/changes/{change}/approve").json()["rollout"]
        assert (approved["status"], approved["approved"]) == ("running", "test")
        for stage in range(1, len(shares)):
            until(lambda stage=stage: trying(mesh, stage))
            calls(mesh, "created", 100)
        until(lambda: mesh.control_plane.snapshot().revision == 2)
    until(lambda: now(admin)["rollout"]["status"] == "done")
    assert admin.get("/v1/changes").json()["changes"] == []
    assert admin.get("/v1/policies/2").json()["author"] == "first-admin, approved by test"
    done = audited(admin, begun["id"])
    assert done[:3] == ["rollout.begin", "rollout.hold", "rollout.approve"]


def test_a_rollout_that_was_approved_is_not_held(replica: Replica, admin: httpx.Client) -> None:
    """Another kind that is protected later changes nothing: two people saw the whole set."""
    assert admin.put("/v1/protections/AccessPolicy").status_code == 204
    change = admin.post("/v1/rollouts", json=plan("created", (0.0, LONG))).json()["change"]
    with mint_client(replica, Grant("operator")) as other:
        other.params = admin.params
        assert other.post(f"/v1/changes/{change}/approve").json()["rollout"]["approved"] == "test"
    assert admin.put("/v1/protections/TrafficPolicy").status_code == 204
    assert admin.post("/v1/rollouts/advance").json()["rollout"]["reason"] == "revision 2"


def test_a_rollout_of_other_kinds_is_not_held(replica: Replica, admin: httpx.Client) -> None:
    """What is protected is not what it changes."""
    del replica
    begin(admin, "created", (0.0, NOW))
    assert admin.put("/v1/protections/TrafficPolicy").status_code == 204
    assert admin.post("/v1/rollouts/advance").json()["rollout"]["status"] == "done"


def test_a_rollout_that_is_held_is_stopped_by_its_rejection(replica: Replica, admin: httpx.Client) -> None:
    """And who may not apply what it changes may neither reject nor approve it."""
    begun = begin(admin, "created", (0.0, LONG))
    assert admin.put("/v1/protections/AccessPolicy").status_code == 204
    assert admin.post("/v1/rollouts/advance").json()["rollout"]["status"] == "held"
    change = held(admin)
    with mint_client(replica, Grant("operator", targets=("cart",))) as other:
        other.params = admin.params
        assert other.post(f"/v1/changes/{change}/approve").status_code == 403
        assert other.delete(f"/v1/changes/{change}").status_code == 403
    assert now(admin)["rollout"]["status"] == "held"
    assert admin.delete(f"/v1/changes/{change}").status_code == 204
    ended = now(admin)["rollout"]
    assert (ended["status"], ended["reason"]) == ("stopped", f"first-admin rejected {change}")
    assert audited(admin, begun["id"]) == ["rollout.begin", "rollout.hold", "rollout.stopped"]
    assert admin.get("/v1/changes").json()["changes"] == []


def test_a_rollout_that_is_held_goes_on_when_the_protection_is_lifted(replica: Replica, admin: httpx.Client) -> None:
    """Which another admin approved; its own change is gone then."""
    begin(admin, "created", (0.0, LONG), (0.5, LONG))
    assert admin.put("/v1/protections/AccessPolicy").status_code == 204
    assert admin.post("/v1/rollouts/advance").json()["rollout"]["status"] == "held"
    lift = admin.delete("/v1/protections/AccessPolicy").json()["change"]
    with mint_client(replica, Grant("admin")) as other:
        other.params = admin.params
        assert other.post(f"/v1/changes/{lift}/approve").status_code == 200
    gone_on = admin.post("/v1/rollouts/advance").json()["rollout"]
    assert (gone_on["status"], gone_on["stage"], gone_on["reason"]) == ("running", 1, "")
    assert admin.get("/v1/changes").json()["changes"] == []


def test_a_rollout_that_is_held_is_still_judged(replica: Replica, admin: httpx.Client) -> None:
    """Where it refuses too much it is stopped, and nobody has to approve anything any more."""
    with shop(replica, admin) as mesh:
        begin(admin, "created", (0.0, LONG))
        assert admin.put("/v1/protections/AccessPolicy").status_code == 204
        assert admin.post("/v1/rollouts/advance").json()["rollout"]["status"] == "held"
        until(lambda: trying(mesh, 0))
        calls(mesh, "created", 30)
        until(lambda: now(admin)["rollout"]["status"] == "stopped")
    until(lambda: admin.get("/v1/changes").json()["changes"] == [])


def test_who_may_not_apply_may_not_roll_out(replica: Replica, admin: httpx.Client) -> None:
    """Nor go on, nor stop; who may read sees how far it is."""
    with mint_client(replica, Grant("viewer")) as viewer:
        viewer.params = admin.params
        assert viewer.post("/v1/rollouts", json=plan("paid", (0.5, 1))).status_code == 403
        begin(admin, "paid", (0.5, LONG))
        assert viewer.post("/v1/rollouts/advance").status_code == 403
        assert viewer.post("/v1/rollouts/stop", json={"reason": "no no"}).status_code == 403
        assert viewer.get("/v1/rollouts").json()["rollout"]["status"] == "running"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"stages": []}, 422),
        ({"stages": [{"share": 0.5, "seconds": 1}, {"share": 0.5, "seconds": 1}]}, 422),
        ({"stages": [{"share": 1.5, "seconds": 1}]}, 422),
        ({"replaces": 7}, 409),
        ({"sources": {"a.yaml": "kind: Nothing"}}, 422),
    ],
)
def test_what_cannot_be_rolled_out_changes_nothing(
    replica: Replica, admin: httpx.Client, change: dict[str, Any], status: int
) -> None:
    """And says why."""
    del replica
    answer = admin.post("/v1/rollouts", json=plan("paid", (0.5, 1)) | change)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    assert now(admin)["rollout"] is None


def test_counts_of_another_stage_and_of_nonsense_change_nothing(replica: Replica, admin: httpx.Client) -> None:
    """A client that sends what cannot be counted is sent away; its stream's own counts are all that it harms."""
    begun = begin(admin, "created", (0.0, LONG))
    headers = {"authorization": f"Bearer {replica.token}"}
    place = replica.url.replace("http", "ws") + "/v1/stream"
    for stage, counts in (
        (7, {"decisions": 5}),
        (0, {"decisions": -5}),
        (0, {"decisions": 2**60}),
        (0, {"decisions": 2_000_000}),
        (0, 3),
    ):
        with connect(place, additional_headers=headers, proxy=None) as stream:
            stream.send(json.dumps({"op": "hello", "protocol": [1], **dict(admin.params)}))
            stream.send(
                json.dumps({"op": "counted", "stages": [{"rollout": begun["id"], "stage": stage, "counts": counts}]})
            )
            try:
                while True:
                    stream.recv(0.5)
            except (TimeoutError, ConnectionClosed):
                pass
    time.sleep(1.5)
    assert now(admin)["counts"] == {}


def test_two_replicas_sum_what_their_clients_counted(tmp_path: Path, replica: Replica, admin: httpx.Client) -> None:
    """And one that is killed leaves its counts."""
    other_place = tmp_path / "other"
    other_place.mkdir()
    other = Replica(other_place, replica.store, token=replica.token)
    with other, shop(replica, admin) as one, shop(replica, admin, other.url) as two:
        begin(admin, "created", (0.0, LONG), minimum=1000)
        for mesh in (one, two):
            until(lambda mesh=mesh: trying(mesh, 0))
            calls(mesh, "created", 25)
        until(lambda: now(admin)["counts"].get("decisions") == 50)
        other.kill()
        calls(one, "created", 25)
        until(lambda: now(admin)["counts"].get("decisions") == 75)
