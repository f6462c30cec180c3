"""Tokens, identities, owners, second approvers and rates of the server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from desks import Served, served

from mcp_sdk import BusinessModel
from mcp_sdk.context import MESH, Scope, Transition
from mcp_sdk.exceptions import ConfigurationError, ProtocolError
from mcp_sdk.ports import Record
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.access.identities import IdentityGrant, resolve
from mcp_sdk.server.access.rates import Rate, Rates, read_rates
from mcp_sdk.server.faults import Fault
from mcp_sdk.stores.memory import MemoryStore

ADMIN = Grant("admin")
STATES = ("created", "paid")
ORDER = BusinessModel("order", states=STATES).to_dict()
ACCESS = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: orders}
spec:
  target: {service: shop}
  default: permit
  rules:
  - {name: shipped, when: "order.state == 'paid'", effect: deny, reason: it is paid}
"""


def test_nobody_grants_more_than_it_has() -> None:
    """An admin of one namespace makes tokens of it, for no longer than its own, and sees and revokes only these."""

    async def work(at: Served) -> None:
        root = await at.client(ADMIN)
        asked = {"name": "a", "grants": [{"role": "admin", "namespace": "shop"}], "ttl": 60}
        made = (await root.post("/v1/tokens", json=asked)).json()
        local = at.holding(made["text"])
        inside = {"name": "b", "grants": [{"role": "publisher", "namespace": "shop", "targets": ["orders"]}]}
        child = await local.post("/v1/tokens", json=inside)
        assert child.status_code == 201
        assert child.json()["expires_at"] == made["expires_at"]
        for grant in ({"role": "viewer"}, {"role": "viewer", "namespace": "bank"}, {"role": "admin"}):
            answer = await local.post("/v1/tokens", json={"name": "c", "grants": [grant]})
            assert answer.status_code == 403
        assert {one["name"] for one in (await local.get("/v1/tokens")).json()["tokens"]} == {"a", "b"}
        other = (await root.post("/v1/tokens", json={"name": "r", "grants": [{"role": "viewer"}]})).json()
        assert (await local.delete(f"/v1/tokens/{other['id']}")).status_code == 404
        assert (await local.delete(f"/v1/tokens/{child.json()['id']}")).status_code == 204

    served(work)


def test_a_revoked_token_is_taken_no_longer_and_nothing_shown_proves_one() -> None:
    """401 at once; listings hold neither the secret nor its hash."""

    async def work(at: Served) -> None:
        root = await at.client(ADMIN)
        made = (await root.post("/v1/tokens", json={"name": "v", "grants": [{"role": "viewer"}]})).json()
        viewer = at.holding(made["text"])
        assert (await viewer.get("/v1/models")).status_code == 200
        assert made["text"][17:] not in (await root.get("/v1/tokens")).text
        assert "sha256" not in (await root.get("/v1/tokens")).text
        await root.delete(f"/v1/tokens/{made['id']}")
        assert (await viewer.get("/v1/models")).status_code == 401

    served(work)


def test_the_first_service_that_declares_a_model_owns_it() -> None:
    """Another that asserts it is refused whole, by the owner's name, until an operator says that it may."""

    async def work(at: Served) -> None:
        orders = await at.client(Grant("publisher"), service="orders")
        payments = await at.client(Grant("publisher"), service="payments")
        operator, tool = await at.client(Grant("operator")), await at.client(ADMIN)
        for client in (orders, payments):
            assert (await client.post("/v1/models", json={"models": [ORDER]})).status_code == 204
        assert (await tool.get("/v1/owners")).json() == {"owners": {"order": ["orders"]}}
        batch = {"transitions": [_moved("free", "f-1"), _moved("order", "o-1")]}
        refused = await payments.post("/v1/transitions", json=batch)
        assert refused.status_code == 403
        assert refused.json()["owners"] == ["orders"]
        assert "'payments' does not own the model 'order': orders does" in refused.json()["detail"]
        assert (await tool.get("/v1/contexts/free/entity?id=f-1")).status_code == 404
        for client in (orders, tool):
            assert (await client.post("/v1/transitions", json=batch)).status_code == 200
        for services in (["orders", "payments"], ["*"]):
            assert (await operator.put("/v1/owners/order", json={"services": services})).status_code == 200
            assert (await payments.post("/v1/transitions", json=batch)).status_code == 200

    served(work)


@pytest.mark.parametrize(
    "changed",
    [
        {"retention": 1.0},
        {"enforce": True},
        {"states": (*STATES, "gone")},
        {"states": STATES, "attributes": {"amount": "int"}},
    ],
)
def test_a_model_that_others_own_is_not_changed(changed: dict[str, Any]) -> None:
    """A second of retention would erase what its owner keeps: whoever may not say what happened may not do that."""

    async def work(at: Served) -> None:
        orders = await at.client(Grant("publisher"), service="orders")
        payments = await at.client(Grant("publisher"), service="payments")
        assert (await orders.post("/v1/models", json={"models": [ORDER]})).status_code == 204
        body = {"models": [BusinessModel("order", **{"states": STATES, **changed}).to_dict()]}
        refused = await payments.post("/v1/models", json=body)
        assert (refused.status_code, refused.json()["owners"]) == (403, ["orders"])
        assert (await orders.get("/v1/models")).json() == {"models": [ORDER]}
        assert (await orders.post("/v1/models", json=body)).status_code == 204

    served(work)


def _moved(model: str, entity: str) -> dict[str, Any]:
    return Transition(model, entity, "created", f"{model}-{entity}").to_dict()


def test_a_protected_kind_needs_somebody_else() -> None:
    """A change of its effect waits; the author cannot approve it, nor a token that the author made; another can."""

    async def work(at: Served) -> None:
        admin = await at.client(ADMIN, name="ada")
        author, other = [await at.client(Grant("operator"), name=name) for name in ("bob", "eve")]
        await admin.post("/v1/models?environment=prod", json={"models": [ORDER]})
        assert (await admin.put("/v1/protections/AccessPolicy?environment=prod")).status_code == 204
        body = {"sources": {"a.yaml": ACCESS}, "replaces": 0}
        assert (await author.post("/v1/policies", json=body)).status_code == 422  # no model in that environment
        waits = await author.post("/v1/policies?environment=prod", json=body)
        assert waits.status_code == 202
        path = f"/v1/changes/{waits.json()['change']}/approve?environment=prod"
        assert (await author.post(path)).json()["type"].endswith("same-person")
        viewer = await at.client(Grant("viewer"))
        assert (await viewer.post(path)).status_code == 403
        assert (await admin.get("/v1/policies/0?environment=prod")).status_code == 404
        (listed,) = (await other.get("/v1/changes?environment=prod")).json()["changes"]
        assert (listed["author"], listed["kinds"]) == ("bob", ["AccessPolicy"])
        done = await other.post(path)
        assert (done.status_code, done.json()["revision"]) == (200, 1)
        assert done.json()["author"] == "bob, approved by eve"
        assert (await other.post(path)).status_code == 404
        same = await author.post(
            "/v1/policies?environment=prod", json={"sources": {"b.yaml": "\n" + ACCESS}, "replaces": 1}
        )
        assert same.status_code in (200, 202)

    served(work)


def test_an_admin_cannot_approve_by_a_token_that_it_made() -> None:
    """Neither what it wrote through a token of its own making, nor with one what it wrote itself."""

    async def work(at: Served) -> None:
        root = await at.client(ADMIN)
        await root.post("/v1/models", json={"models": [ORDER]})
        await root.put("/v1/protections/AccessPolicy")
        made = await root.post("/v1/tokens", json={"name": "sock", "grants": [{"role": "operator"}]})
        puppet = at.holding(made.json()["text"])
        body = {"sources": {"a.yaml": ACCESS}, "replaces": 0}
        for author, approver in ((root, puppet), (puppet, root)):
            change = (await author.post("/v1/policies", json=body)).json()["change"]
            assert (await approver.post(f"/v1/changes/{change}/approve")).status_code == 403
            assert (await approver.delete(f"/v1/changes/{change}")).status_code == 204

    served(work)


def test_an_approval_of_what_is_outrun_changes_nothing() -> None:
    """A change replaces the revision that it was made from, or none."""

    async def work(at: Served) -> None:
        author, other = [await at.client(ADMIN, name=name) for name in ("bob", "eve")]
        await author.post("/v1/models", json={"models": [ORDER]})
        await author.put("/v1/protections/AccessPolicy")
        changes = [
            (await author.post("/v1/policies", json={"sources": {"a.yaml": ACCESS}, "replaces": 0})).json()["change"]
            for _ in range(2)
        ]
        answers = [(await other.post(f"/v1/changes/{change}/approve")).status_code for change in changes]
        assert answers == [200, 409]

    served(work)


def test_who_asks_too_often_is_told_when_to_ask_again() -> None:
    """429 with Retry-After; transitions count by themselves, and so does everybody else."""

    async def work(at: Served) -> None:
        noisy, calm = await at.client(ADMIN), await at.client(ADMIN)
        answers = [(await noisy.get("/v1/models")) for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 429, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await noisy.post("/v1/transitions", json={"transitions": []})).status_code == 200
        assert (await calm.get("/v1/models")).status_code == 200

    served(work, rates={"requests": Rate(0.01, 2)})


def test_a_bucket_fills_again() -> None:
    """At its rate, up to its burst; what was refused costs nothing."""
    now = [0.0]
    rates = Rates({"requests": Rate(2, 3)}, clock=lambda: now[0])

    def taken() -> int:
        count = 0
        while True:
            try:
                rates.take("a", "requests")
            except Fault:
                return count
            count += 1

    assert taken() == 3
    now[0] += 1
    assert taken() == 2
    now[0] += 100
    assert taken() == 3


@pytest.mark.parametrize("text", ["", "requests", "requests=", "requests=x", "requests=0", "sleep=1", "streams=1:0"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    """With how to write one."""
    with pytest.raises(ConfigurationError, match="KIND=RATE"):
        read_rates([text])


def test_a_pattern_fits_within_a_segment() -> None:
    """``*`` stands for no slash, so that no workload gets the grants of another namespace."""
    pattern = IdentityGrant("spiffe://mesh/ns/shop/sa/*", (ADMIN,))
    assert pattern.fits(["spiffe://mesh/ns/shop/sa/orders"])
    for subject in ("spiffe://mesh/ns/shop/sa/a/b", "spiffe://mesh/ns/bank/sa/a", "x spiffe://mesh/ns/shop/sa/a"):
        assert not pattern.fits([subject])
    with pytest.raises(ProtocolError, match="no subject"):
        IdentityGrant("*", (ADMIN,))


def test_who_would_speak_for_two_services_speaks_for_none() -> None:
    """Patterns that name several services cancel each other; it could not be said who publishes."""
    one = IdentityGrant("cn:*", (ADMIN,), "orders").record()
    two = IdentityGrant("cn:a*", (ADMIN,), "payments").record()
    assert resolve(["cn:b"], [one, two]) == ((ADMIN,), "orders")
    assert resolve(["cn:ab"], [one, two]) == ((), "")


def test_a_record_that_cannot_be_read_shuts_nobody_out() -> None:
    """A replica of an older version passes over tokens and patterns with roles that it does not know, and goes on."""
    store = MemoryStore()
    grants = [{"role": "auditor", "namespace": "*", "environment": "*", "targets": ["*"]}]

    async def before() -> None:
        await store.open()
        token = {"name": "n", "sha256": "", "grants": grants, "service": "", "created_at": 0.0, "expires_at": None}
        await store.put_record(MESH, Record("token", "newer0000000", token))
        await store.put_record(MESH, Record("identity", "newer", {"pattern": "cn:*", "grants": grants, "service": ""}))

    async def work(at: Served) -> None:
        admin = await at.client(ADMIN)
        assert len((await admin.get("/v1/tokens")).json()["tokens"]) == 1
        assert (await admin.get("/v1/identities")).json() == {"identities": []}
        assert resolve(["cn:desk"], await store.records(MESH, "identity")) == ((), "")

    asyncio.run(before())
    served(work, store)


def test_scopes_are_bounded() -> None:
    """Each takes memory and a signing key, and any name is one."""

    async def work(at: Served) -> None:
        viewer = await at.client(Grant("viewer"))
        asked = [(await viewer.get(f"/v1/manifest?namespace=n-{number}")).status_code for number in (1, 2, 3, 2)]
        assert asked == [200, 200, 503, 200]

    served(work, scopes=2)


def test_changes_that_wait_are_bounded() -> None:
    """Each holds a whole policy set for a week. Those that waited too long make room."""

    async def work(at: Served) -> None:
        admin, author = await at.client(ADMIN), await at.client(Grant("operator"))
        await admin.post("/v1/models", json={"models": [ORDER]})
        await admin.put("/v1/protections/AccessPolicy")
        body = {"sources": {"a.yaml": ACCESS}, "replaces": 0}
        for _ in range(20):
            assert (await author.post("/v1/policies", json=body)).status_code == 202
        refused = await author.post("/v1/policies", json=body)
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:mcp-sdk:problem:too-many-changes")
        first = (await at.store.records(Scope(), "change"))[0]
        await at.store.put_record(Scope(), replace(first, content={**first.content, "expires_at": 0.0}))
        refused = await author.post("/v1/policies", json=body)
        assert refused.status_code == 202
        assert len(await at.store.records(Scope(), "change")) == 20

    served(work)
