"""The matrix of roles and routes: what each may call, and what it may not; and where its grants end."""

from __future__ import annotations

from typing import Any

import pytest
from desks import Served, served
from starlette.routing import WebSocketRoute

from mcp_sdk import BusinessModel
from mcp_sdk.context import Scope, Transition
from mcp_sdk.policy import compile_policies
from mcp_sdk.server.access.callers import ROLES, Grant, Permission
from mcp_sdk.server.app import create_app
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.stores.memory import MemoryStore
from mcp_sdk.tasks import ended

R, P, D, A, O, U, X = (  # noqa: E741
    Permission.READ,
    Permission.PUBLISH,
    Permission.DECLARE,
    Permission.APPLY,
    Permission.OPERATE,
    Permission.AUDIT,
    Permission.ADMIN,
)
POLICY = """
kind: AccessPolicy
metadata: {name: SERVICE}
spec: {target: {service: SERVICE}, default: permit, rules: [{name: a, when: "principal.mfa", effect: deny}]}
"""
LEASE = {"endpoint": {"service": "shop", "url": "http://127.0.0.1:1"}}
GRANT = {"grants": [{"role": "viewer"}]}
ROUTES: dict[tuple[str, str], tuple[Permission | None, str, Any]] = {
    ("GET", "/healthz"): (None, "/healthz", None),
    ("GET", "/readyz"): (None, "/readyz", None),
    ("GET", "/metrics"): (R, "/metrics", None),
    ("GET", "/v1/contexts/{model}"): (R, "/v1/contexts/order", None),
    ("GET", "/v1/contexts/{model}/history"): (R, "/v1/contexts/order/history?id=o", None),
    ("GET", "/v1/contexts/{model}/entity"): (R, "/v1/contexts/order/entity?id=o", None),
    ("DELETE", "/v1/contexts/{model}/entity"): (O, "/v1/contexts/order/entity?id=o", None),
    ("POST", "/v1/probe"): (O, "/v1/probe", None),
    ("POST", "/v1/transitions"): (P, "/v1/transitions", "moved"),
    ("POST", "/v1/policies"): (A, "/v1/policies", {"sources": {"a": POLICY}, "replaces": 0, "dry_run": True}),
    ("GET", "/v1/policies"): (R, "/v1/policies", None),
    ("GET", "/v1/policies/{revision}"): (R, "/v1/policies/0", None),
    ("POST", "/v1/rollouts"): (
        A,
        "/v1/rollouts",
        {"sources": {"a": POLICY}, "replaces": 0, "stages": [{"share": 1, "seconds": 60}]},
    ),
    ("GET", "/v1/rollouts"): (R, "/v1/rollouts", None),
    ("POST", "/v1/rollouts/advance"): (A, "/v1/rollouts/advance", None),
    ("POST", "/v1/rollouts/stop"): (A, "/v1/rollouts/stop", {"reason": "test"}),
    ("GET", "/v1/manifest"): (R, "/v1/manifest", None),
    ("GET", "/v1/parts/{digest}"): (R, f"/v1/parts/{'0' * 64}", None),
    ("GET", "/v1/models"): (R, "/v1/models", None),
    ("POST", "/v1/models"): (D, "/v1/models", {"models": []}),
    ("GET", "/v1/services"): (R, "/v1/services", None),
    ("POST", "/v1/services"): (P, "/v1/services", LEASE),
    ("DELETE", "/v1/services"): (P, "/v1/services?service=shop&url=http://127.0.0.1:1", None),
    ("POST", "/v1/tokens"): (X, "/v1/tokens", {"name": "t", **GRANT}),
    ("GET", "/v1/tokens"): (X, "/v1/tokens", None),
    ("DELETE", "/v1/tokens/{id}"): (X, "/v1/tokens/abcdefghijkl", None),
    ("POST", "/v1/identities"): (X, "/v1/identities", {"pattern": "cn:a", **GRANT}),
    ("GET", "/v1/identities"): (X, "/v1/identities", None),
    ("DELETE", "/v1/identities/{id}"): (X, "/v1/identities/abcdefghijkl0000", None),
    ("GET", "/v1/audit"): (U, "/v1/audit", None),
    ("GET", "/v1/changes"): (R, "/v1/changes", None),
    ("POST", "/v1/changes/{change}/approve"): (R, "/v1/changes/c-0123456789/approve", None),
    ("DELETE", "/v1/changes/{change}"): (A, "/v1/changes/c-0123456789", None),
    ("GET", "/v1/protections"): (R, "/v1/protections", None),
    ("PUT", "/v1/protections/{kind}"): (X, "/v1/protections/AccessPolicy", None),
    ("DELETE", "/v1/protections/{kind}"): (X, "/v1/protections/QosPolicy", None),
    ("POST", "/v1/overrides"): (O, "/v1/overrides", {"service": "shop", "ttl": 60, "reason": "a test"}),
    ("DELETE", "/v1/overrides"): (O, "/v1/overrides?service=shop", None),
    ("GET", "/v1/overrides"): (R, "/v1/overrides", None),
    ("GET", "/v1/epoch"): (R, "/v1/epoch", None),
    ("POST", "/v1/epoch"): (X, "/v1/epoch", {"leaves": 1, "reason": "a test"}),
    ("GET", "/v1/owners"): (R, "/v1/owners", None),
    ("PUT", "/v1/owners/{model}"): (O, "/v1/owners/order", {"services": ["*"]}),
}
"""Each route: the permission that it needs (approving needs more, of what the change holds), and a call."""

ELSEWHERE = {
    ("GET", "/v1/about"),
    ("GET", "/v1/snapshots/stream"),
    ("GET", "/v1/tap"),
    ("GET", "/v1/audit/stream"),
    ("POST", "/v1/decide"),
    ("POST", "/v1/decide/batch"),
    ("POST", "/access/v1/evaluation"),
    ("POST", "/access/v1/evaluations"),
    ("GET", "/.well-known/authzen-configuration"),
}
"""Routes that stream without an end, ask only who it is, or whose body says where: tested in their own modules."""


RUNNING = ("/v1/rollouts/advance", "/v1/rollouts/stop")
"""Whose rollout it is, is known where one runs."""


def _body(body: Any) -> Any:
    return {"transitions": [Transition("order", "o", "x", "e").to_dict()]} if body == "moved" else body


def test_every_route_is_in_the_matrix() -> None:
    """A new route says here what it needs, one that is gone stands here no more, and only the stream is a WebSocket."""
    app = create_app(ServerSettings(), MemoryStore())
    found = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    assert found == set(ROUTES) | ELSEWHERE
    assert [route.path for route in app.state.routes if isinstance(route, WebSocketRoute)] == ["/v1/stream"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_call_what_it_needs_and_nothing_else(role: str) -> None:
    """Refusals are one clear 403 that names the roles that could; what is allowed fails for other reasons at most."""

    async def work(at: Served) -> None:
        client = await at.client(Grant(role), name=f"a-{role}")
        for (method, _), (permission, path, body) in ROUTES.items():
            answer = await client.request(method, path, json=_body(body))
            allowed = permission is None or permission in ROLES[role]
            assert (answer.status_code != 403) is allowed, (method, path, answer.text)
            if not allowed:
                assert f"a-{role}" in answer.json()["detail"]

    served(work)


@pytest.mark.parametrize(
    "grant", [Grant("admin", "bank"), Grant("admin", environment="prod"), Grant("admin", targets=("bank",))]
)
def test_a_grant_ends_where_it_says(grant: Grant) -> None:
    """Out of its namespace or environment a token of whatever role is refused; out of its targets it may but read.

    A probe is of no scope: whoever operates somewhere may.
    """

    async def work(at: Served) -> None:
        client = await at.client(grant)
        for (method, route), (permission, path, body) in ROUTES.items():
            if (
                permission is not None
                and route not in ("/v1/tokens", "/v1/tokens/{id}", "/v1/audit", *RUNNING)
                and ("identities" not in route or method == "POST")
            ):
                answer = await client.request(method, path, json=_body(body))
                may = route == "/v1/probe" or (permission is R and "*" not in grant.targets)
                assert (answer.status_code != 403) is may, (method, path, answer.text)

    served(work)


def test_nobody_is_refused_everywhere() -> None:
    """Without a token, or with one that is none, every route but health answers 401."""

    async def work(at: Served) -> None:
        for text in ("", "mcp_abcdefghijkl_" + "A" * 43, "nonsense"):
            client = at.holding(text)
            for (method, _), (permission, path, body) in ROUTES.items():
                answer = await client.request(method, path, json=_body(body))
                assert (answer.status_code == 401) is (permission is not None), (method, path)

    served(work)


QUESTION = {"subject": {"type": "u", "id": "u"}, "action": {"name": "a"}, "resource": {"type": "t", "id": "t"}}


def test_what_a_caller_may_not_do_costs_nothing() -> None:
    """Nothing is compiled, and no scope opened, before the caller is known to be allowed: a scope takes a key."""

    async def work(at: Served) -> None:
        await at.store.put_models(Scope("bank", "prod"), [BusinessModel("loan", attributes={"rating": "int"})])
        asked = {"/v1/policies": {"sources": {"a": "kind: Nothing"}, "replaces": 0, "dry_run": True}}
        asked["/access/v1/evaluation"] = QUESTION | {"context": {"service": "s"}}
        for role in ROLES:
            client = await at.client(Grant(role, "shop"))
            for path, body in asked.items():
                answer = await client.post(path, json=body, params={"namespace": "bank", "environment": "prod"})
                assert answer.status_code == 403, answer.text
        assert at.desk.hub.scopes == ()

    served(work)


def test_an_operator_of_one_service_replaces_no_policy_of_another_that_this_replica_has_not_heard_of() -> None:
    """What a revision takes away is looked up in the store."""

    async def work(at: Served) -> None:
        scope = Scope("default", "default")
        programs = compile_policies({"bank": POLICY.replace("SERVICE", "bank")}, {})
        await at.desk.live(scope)
        await ended(at.desk.hub._tasks)  # it hears nothing any more
        await at.store.put_policies(scope, PolicyRevision(0, programs, {}, "test"))
        client = await at.client(Grant("operator", targets=("shop",)))
        body = {"sources": {"shop": POLICY.replace("SERVICE", "shop")}, "replaces": 1}
        answer = await client.post("/v1/policies", json=body)
        assert answer.status_code == 403, answer.text

    served(work)


def test_an_admin_of_one_namespace_takes_no_grants_from_others() -> None:
    """Where two patterns name different services neither counts, so naming one takes an admin of them all."""

    async def work(at: Served) -> None:
        tenant, admin = await at.client(Grant("admin", "bank")), await at.client(Grant("admin"))
        viewing = [{"role": "viewer", "namespace": "bank"}]
        named = {"pattern": "spiffe://mesh/ns/shop/*", "grants": viewing, "service": "evil"}
        refused = await tenant.post("/v1/identities", json=named)
        assert (refused.status_code, "for which service" in refused.json()["detail"]) == (403, True)
        assert (await tenant.post("/v1/identities", json=named | {"service": ""})).status_code == 201
        assert (await admin.post("/v1/identities", json=named)).status_code == 201

    served(work)


def test_a_service_announces_itself_alone() -> None:
    """Whatever its grants reach: whoever announces an endpoint of another gets its traffic."""

    async def work(at: Served) -> None:
        shop, tool = await at.client(Grant("publisher"), service="shop"), await at.client(Grant("publisher"))
        for client, service, status in ((shop, "shop", 204), (shop, "bank", 403), (tool, "bank", 204)):
            endpoint = {"service": service, "url": "http://127.0.0.1:1"}
            assert (await client.post("/v1/services", json={"endpoint": endpoint})).status_code == status
            assert (await client.delete("/v1/services", params=endpoint)).status_code == status

    served(work)
