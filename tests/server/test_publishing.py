"""Putting policies in force: for whose services one may, against which revision, and by two people."""

from __future__ import annotations

from typing import Any

import httpx
from desks import Served, served

from mcp_sdk import BusinessModel
from mcp_sdk.context import Scope
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.stores.memory import MemoryStore

PAY, SHOP, OPERATOR = Grant("operator", targets=("pay",)), Grant("operator", targets=("shop",)), Grant("operator")


def policy(service: str, effect: str = "permit", kind: str = "AccessPolicy") -> str:
    """Give a policy file of one service."""
    default = effect if kind == "AccessPolicy" else "{version: v1}"
    return (
        f"apiVersion: mesh.mcp-sdk.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {service}-{kind.lower()}}}\n"
        f"spec:\n  target: {{service: {service}}}\n  default: {default}\n"
    )


async def apply(client: httpx.AsyncClient, replaces: int, **effects: str) -> httpx.Response:
    """Apply one access policy a service."""
    sources = {f"{service}.yaml": policy(service, effect) for service, effect in effects.items()}
    return await client.post("/v1/policies", json={"sources": sources, "replaces": replaces})


def lag(at: Served) -> None:
    """Have the replica hear no more of its store."""
    at.desk.hub._tasks[0].cancel()


def test_who_may_apply_for_one_service_applies_where_others_have_policies() -> None:
    """What stays as it is needs no permission; what is changed, added or left out does."""

    async def work(at: Served) -> None:
        operator, pay = await at.client(OPERATOR), await at.client(PAY)
        assert (await apply(operator, 0, shop="permit", pay="permit")).status_code == 200
        assert (await apply(pay, 1, shop="permit", pay="deny")).status_code == 200
        for others in ({"shop": "deny"}, {}, {"shop": "permit", "more": "permit"}):
            answer = await apply(pay, 2, pay="deny", **others)
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:mcp-sdk:problem:forbidden")
        assert (await apply(pay, 2, shop="permit")).status_code == 200
        assert (await apply(await at.client(SHOP), 3)).status_code == 200

    served(work)


def test_a_replica_that_lags_lets_nobody_reach_further() -> None:
    """What is replaced is what the store holds, not what this replica heard last."""

    async def work(at: Served) -> None:
        pay = await at.client(PAY)
        assert (await apply(pay, 0, pay="permit")).status_code == 200
        lag(at)
        programs = {"policies": [{"service": "shop", "kind": "AccessPolicy", "digest": "of another replica"}]}
        await at.store.put_policies(Scope(), PolicyRevision(1, programs))
        assert (await apply(pay, 2, pay="permit")).status_code == 403
        assert (await apply(pay, 1, pay="permit")).status_code == 409

    served(work)


class Racing(MemoryStore):
    """A store in which another change lands between the reading of policies and their writing."""

    late: PolicyRevision | None = None

    async def records(self, scope: Scope, kind: str) -> Any:
        """Give the records; have the other change land."""
        found = await super().records(scope, kind)
        if kind == "protection" and self.late is not None:
            late, self.late = self.late, None
            await super().put_policies(scope, late)
        return found


def test_what_lands_meanwhile_is_not_undone_by_one_person() -> None:
    """Whoever guesses the revision that is about to come is told of a conflict, and changes nothing of it."""

    async def work(at: Served) -> None:
        store = at.store
        assert isinstance(store, Racing)
        admin, sly = await at.client(Grant("admin")), await at.client(OPERATOR)
        assert (await apply(admin, 0, shop="permit")).status_code == 200
        programs = (await store.policies(Scope())).programs  # type: ignore[union-attr]
        await admin.put("/v1/protections/AccessPolicy")
        tight = {**programs, "policies": [{**programs["policies"][0], "default": "deny", "digest": "tight"}]}
        store.late = PolicyRevision(1, tight, {}, "bob, approved by eve")
        answer = await apply(sly, 2, shop="permit")
        held = await store.policies(Scope())
        assert held is not None
        assert (answer.status_code, held.author) != (200, "test")
        assert answer.status_code == 409

    served(work, Racing())


def test_a_change_of_what_was_replaced_meanwhile_is_compared_with_nothing_else() -> None:
    """What lands between two looks at the store is a conflict, not a reason to compare with something else."""

    async def work(at: Served) -> None:
        store = at.store
        assert isinstance(store, Racing)
        admin, sly = await at.client(Grant("admin")), await at.client(OPERATOR)
        assert (await apply(admin, 0, shop="permit")).status_code == 200
        await admin.put("/v1/protections/AccessPolicy")
        programs = (await store.policies(Scope())).programs  # type: ignore[union-attr]
        changed = {**programs, "policies": [{**programs["policies"][0], "default": "deny", "digest": "tight"}]}
        store.late = PolicyRevision(1, changed, {}, "bob")
        assert (await apply(sly, 1, shop="permit")).status_code == 409

    served(work, Racing())


def test_lifting_a_protection_takes_a_second_person() -> None:
    """Else one admin could lift it, apply, and protect again; the author of the lift cannot approve it either."""

    async def work(at: Served) -> None:
        author, other = [await at.client(Grant("admin"), name=name) for name in ("bob", "eve")]
        operator = await at.client(OPERATOR)
        await author.put("/v1/protections/AccessPolicy")
        waits = await author.delete("/v1/protections/AccessPolicy")
        assert waits.status_code == 202
        change = waits.json()["change"]
        assert (await apply(author, 0, shop="permit")).status_code == 202
        assert (await author.post(f"/v1/changes/{change}/approve")).json()["type"].endswith("same-person")
        assert (await operator.post(f"/v1/changes/{change}/approve")).status_code == 403
        assert (await other.get("/v1/protections")).json()["kinds"] == ["AccessPolicy"]
        listed = (await other.get("/v1/changes")).json()["changes"]
        assert [one["lifts"] for one in listed if one["id"] == change] == ["AccessPolicy"]
        done = await other.post(f"/v1/changes/{change}/approve")
        assert (done.status_code, done.json()) == (200, {"lifted": "AccessPolicy"})
        assert (await other.get("/v1/protections")).json()["kinds"] == []
        assert (await apply(author, 0, shop="permit")).status_code == 200
        assert (await author.delete("/v1/protections/AccessPolicy")).status_code == 404

    served(work)


ORDER = BusinessModel("order", states=("created", "paid"))
ABOUT_ORDERS = policy("shop") + "  rules:\n  - {name: r, when: \"order.state == 'paid'\", effect: deny}\n"


def with_models(replaces: int, *models: BusinessModel, text: str = ABOUT_ORDERS) -> dict[str, Any]:
    """Give the body of a policy set that brings its models."""
    declared = [model.to_dict() for model in models]
    return {"sources": {"shop.yaml": text}, "models": declared, "replaces": replaces}


def test_an_operator_applies_policies_with_the_models_that_they_are_about() -> None:
    """Both are in force, and the log has the models first; the stored revision does not hold them."""

    async def work(at: Served) -> None:
        operator = await at.client(OPERATOR)
        answer = await operator.post("/v1/policies", json=with_models(0, ORDER))
        assert (answer.status_code, answer.json()["revision"]) == (200, 1)
        held = await at.store.policies(Scope())
        assert held is not None
        assert (await at.store.models(Scope()), held.models) == ((ORDER,), ())
        whats = [one["what"] for one in (await operator.get("/v1/audit")).json()["entries"]]
        assert whats == ["models.declare"] * 2 + ["policies.apply"] * 2

    served(work)


def test_nothing_is_declared_where_the_policies_are_refused() -> None:
    """A conflict, a finding, a contradiction, a dry run, a missing permission: each leaves the models as they were."""

    async def work(at: Served) -> None:
        operator, shop = await at.client(OPERATOR), await at.client(SHOP)
        other = BusinessModel("cart", key="number")
        assert (await operator.post("/v1/models", json={"models": [other.to_dict()]})).status_code == 204
        bodies = [
            (operator, with_models(7, ORDER), 409),
            (operator, with_models(0, ORDER, text=policy("shop", "perhaps")), 422),
            (operator, with_models(0, ORDER, BusinessModel("cart", key="id")), 422),
            (operator, {**with_models(0, ORDER), "dry_run": True}, 200),
            (shop, with_models(0, ORDER), 403),
        ]
        for client, body, status in bodies:
            answer = await client.post("/v1/policies", json=body)
            assert answer.status_code == status, answer.text
            assert await at.store.models(Scope()) == (other,)

    served(work)


def test_models_wait_with_the_policies_for_a_second_person() -> None:
    """They are declared when somebody else approves, who sees them before."""

    async def work(at: Served) -> None:
        author, other = [await at.client(Grant("admin"), name=name) for name in ("bob", "eve")]
        await author.put("/v1/protections/AccessPolicy")
        waits = await author.post("/v1/policies", json=with_models(0, ORDER))
        assert (waits.status_code, await at.store.models(Scope())) == (202, ())
        (listed,) = (await other.get("/v1/changes")).json()["changes"]
        assert listed["models"] == [ORDER.to_dict()]
        assert (await other.post(f"/v1/changes/{listed['id']}/approve")).status_code == 200
        assert await at.store.models(Scope()) == (ORDER,)

    served(work)


def test_a_rollout_asks_for_the_services_that_it_changes_alone() -> None:
    """Whoever may apply for these begins, advances and stops it, and nobody else."""

    async def work(at: Served) -> None:
        operator, pay, shop = [await at.client(grant) for grant in (OPERATOR, PAY, SHOP)]
        assert (await apply(operator, 0, shop="permit", pay="permit")).status_code == 200
        sources = {"shop.yaml": policy("shop"), "pay.yaml": policy("pay", "deny")}
        body = {"sources": sources, "replaces": 1, "stages": [{"share": 0, "seconds": 3600}]}
        assert (await shop.post("/v1/rollouts", json=body)).status_code == 403
        assert (await pay.post("/v1/rollouts", json=body)).status_code == 201
        why = {"reason": "a test"}
        assert (await shop.post("/v1/rollouts/stop", json=why)).status_code == 403
        assert (await (await at.client(Grant("viewer"))).post("/v1/rollouts/stop", json=why)).status_code == 403
        assert (await pay.post("/v1/rollouts/stop", json=why)).status_code == 200

    served(work)
