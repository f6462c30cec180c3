"""Cases of ``StoreSuite``: lists, scopes, histories, declarations, endpoints, keys, and erasing."""

# ruff: noqa: RUF001 - letters that look alike are part of what is tested

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mcp_sdk.context import EntityRef, Outcome, Scope
from mcp_sdk.exceptions import MissingExtra, RevisionConflict
from mcp_sdk.models import Attribute, BusinessModel
from mcp_sdk.ports import AppendResult, SigningKey, Store
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.testing._scenarios import (
    APPLIED,
    DUPLICATE,
    ORDER,
    PATIENCE,
    SCOPE,
    Cases,
    collect,
    context_of,
    move,
    scenario,
    statuses,
    watching,
)

try:
    import pytest
except ModuleNotFoundError as missing:
    raise MissingExtra("pytest", extra="testing", purpose="StoreSuite") from missing

__all__ = ["RecordCases"]

WEIRD_IDS = (
    " ",
    "/",
    "a/b/../c",
    "%2F",
    "*",
    "a:b|c",
    "'; DROP TABLE entities; --",
    "line\nbreak",
    "nul\x00byte",
    "café",
    "cafe\u0301",
    "𝒪𝓇𝒹𝑒𝓇-🛒",
    "\U0010ffff",
    "x" * 4096,
)


class RecordCases(Cases):
    """Everything that is kept, found and erased."""

    @scenario
    async def test_list_is_ordered_and_comes_in_pages(self, store: Store) -> None:
        """Pages of any size, put together, are all entities of the model by id, in the order of code points."""
        ids = ["a", "A", "aa", "b", "é", "z", "ﬀ", "𝒪", "a/b", "10", "9"]
        await store.append([*(move(entity_id) for entity_id in ids), move("u", model="user")])
        for limit in (1, 3, len(ids), 100):
            found: list[str] = []
            after = ""
            while True:
                page = await store.list(SCOPE, "order", limit=limit, after=after)
                assert len(page.contexts) <= limit
                found += [context.entity_id for context in page.contexts]
                after = page.after
                if not after:
                    break
            assert found == sorted(ids)

    @scenario
    async def test_list_finds_by_state_and_prefix(self, store: Store) -> None:
        """State and prefix narrow a list, alone and together; wild cards of query languages mean themselves."""
        await store.append(
            [move("eu-1"), move("eu-2", "paid"), move("us-1", "paid"), move("e%"), move("e_\U0010ffffx")]
        )

        async def ids(**filters: Any) -> list[str]:
            return [context.entity_id for context in (await store.list(SCOPE, "order", **filters)).contexts]

        assert await ids(state="paid") == ["eu-2", "us-1"]
        assert await ids(id_prefix="eu") == ["eu-1", "eu-2"]
        assert await ids(state="paid", id_prefix="eu") == ["eu-2"]
        assert await ids(id_prefix="e%") == ["e%"]
        assert await ids(id_prefix="e_\U0010ffff") == ["e_\U0010ffffx"]
        assert await ids(state="none such") == []
        await store.append([move("eu-1", "paid")])
        assert await ids(state="created", id_prefix="eu") == []

    @scenario
    async def test_weird_ids_are_ids_like_others(self, store: Store) -> None:
        """Blanks, slashes, quotes, NUL, four-byte and combining characters and long ids name different entities."""
        await store.append([move(entity_id, f"s{n}") for n, entity_id in enumerate(WEIRD_IDS)])
        refs = [EntityRef("order", entity_id) for entity_id in WEIRD_IDS]
        found = await store.get(SCOPE, refs)
        assert [found[ref].state for ref in refs] == [f"s{n}" for n in range(len(WEIRD_IDS))]
        listed = [context.entity_id for context in (await store.list(SCOPE, "order")).contexts]
        assert listed == sorted(WEIRD_IDS)
        for ref in refs:
            assert [entry.transition.ref for entry in await store.history(SCOPE, ref)] == [ref]
            assert (await store.forget(SCOPE, ref)).contexts == 1
        assert (await store.list(SCOPE, "order")).contexts == ()

    @scenario
    async def test_scopes_never_mix(self, store: Store) -> None:
        """Namespace and environment keep entities, events, lists, models, policies, endpoints and keys apart."""
        scopes = [Scope("shop", "prod"), Scope("shop", "test"), Scope("prod", "shop"), Scope("shopprod", "")]
        for number, scope in enumerate(scopes):
            sent = move(event_id="same", batch_id="same", to_state=f"s{number}")
            sent = replace(sent, namespace=scope.namespace, environment=scope.environment)
            assert await store.append([sent]) == (AppendResult(APPLIED, 1),)
            await store.put_models(scope, [BusinessModel(f"m{number}")])
            await store.put_policies(scope, PolicyRevision(0, {"n": number}))
            await store.register(scope, Endpoint("shop", f"http://127.0.0.1:{number + 1}"), ttl=60)
            await store.put_key(scope, SigningKey(f"k{number}", bytes(16)))
        for number, scope in enumerate(scopes):
            found = await context_of(store, scope=scope)
            assert found is not None
            assert found.state == f"s{number}"
            assert [context.state for context in (await store.list(scope, "order")).contexts] == [f"s{number}"]
            assert [model.name for model in await store.models(scope)] == [f"m{number}"]
            policies = await store.policies(scope)
            assert policies is not None
            assert policies.programs == {"n": number}
            assert [endpoint.url for endpoint in await store.endpoints(scope)] == [f"http://127.0.0.1:{number + 1}"]
            assert [key.kid for key in await store.keys(scope)] == [f"k{number}"]
        await store.forget(scopes[0], ORDER)
        assert [await context_of(store, scope=scope) is None for scope in scopes] == [True, False, False, False]
        assert await store.history(SCOPE, ORDER) == ()

    @scenario
    async def test_history_gives_the_last_transitions(self, store: Store) -> None:
        """History is oldest first, and holds the newest ``limit`` transitions of the entity with every field."""
        await store.append([move(to_state=f"s{number}", attributes={"n": number}) for number in range(10)])
        await store.append([move("o-2")])
        last = await store.history(SCOPE, ORDER, limit=3)
        assert [(entry.transition.to_state, entry.context.revision) for entry in last] == [
            ("s7", 8),
            ("s8", 9),
            ("s9", 10),
        ]
        full = replace(
            move(
                attributes={"amount": 5},
                base_revision=10,
                batch_id="b",
                source="shop",
                operation="POST /x",
                duration=1.5,
            ),
            from_state="s9",
            trace_id="0" * 32,
        )
        await store.append([full])
        assert (await store.history(SCOPE, ORDER, limit=1))[0].transition == full

    @scenario
    async def test_models_are_declared_and_replaced(self, store: Store, other: Store) -> None:
        """Models come back as declared; a later declaration replaces the earlier; watchers hear of changes only."""
        cursor = await store.cursor()
        order = BusinessModel(
            "order",
            states=("created", "paid"),
            transitions={"created": frozenset({"paid"})},
            attributes={"amount": Attribute("amount", "decimal"), "card": Attribute("card", sensitive=True)},
            enforce=True,
            retention=60.0,
        )
        await store.put_models(SCOPE, [order, BusinessModel("user", principal=True)])
        await other.put_models(SCOPE, [order])
        assert await other.models(SCOPE) == (order, BusinessModel("user", principal=True))
        await other.put_models(SCOPE, [replace(order, enforce=False)])
        assert (await store.models(SCOPE))[0] == replace(order, enforce=False)
        assert [change.kind for change in await collect(store, cursor, 2)] == ["models", "models"]

    @scenario
    async def test_models_are_compared_with_what_they_replace(self, store: Store, other: Store) -> None:
        """With ``held``, all models are stored or none, and none where one that changes is stored otherwise by now."""
        order, user = BusinessModel("order", states=("created",)), BusinessModel("user")
        assert await store.put_models(SCOPE, [order], held=())
        assert await other.put_models(SCOPE, [order], held=())
        changed = replace(order, states=("created", "paid"))
        cursor = await store.cursor()
        assert not await other.put_models(SCOPE, [user, changed], held=())
        assert not await other.put_models(SCOPE, [user, changed], held=[user, order])
        assert await store.models(SCOPE) == (order,)
        assert await other.put_models(SCOPE, [user, changed], held=[order])
        assert not await store.put_models(SCOPE, [replace(order, enforce=True)], held=[order, user])
        assert await store.models(SCOPE) == (changed, user)
        assert [change.kind for change in await collect(other, cursor, 1)] == ["models"]

    @scenario
    async def test_of_many_who_declare_a_model_none_is_lost(self, store: Store, second: Store, third: Store) -> None:
        """Who reads, adds and puts with what it read, until it is stored, loses nothing that others add meanwhile."""

        async def add(handle: Store, name: str) -> None:
            done = False
            while not done:
                held = await handle.models(SCOPE)
                attributes = {**(held[0].attributes if held else {}), name: Attribute(name)}
                done = await handle.put_models(SCOPE, [BusinessModel("order", attributes=attributes)], held=held)

        await asyncio.gather(*(add(handle, f"a{number}") for number, handle in enumerate((store, second, third) * 4)))
        (order,) = await store.models(SCOPE)
        assert set(order.attributes) == {f"a{number}" for number in range(12)}

    @scenario
    async def test_policies_are_revised_one_after_another(self, store: Store, other: Store) -> None:
        """Each revision replaces the one it names; history has all, newest first, without programs."""
        cursor = await store.cursor()
        assert await store.policies(SCOPE) is None
        first = await store.put_policies(SCOPE, PolicyRevision(0, {"rules": [1]}, {"a.yaml": "kind: é\n"}, "ann"))
        assert (first.revision, first.author, bool(first.created_at)) == (1, "ann", True)
        second = await other.put_policies(SCOPE, replace(first, programs={"rules": []}, created_at="2026-01-01"))
        assert (second.revision, second.created_at) == (2, "2026-01-01")
        assert await store.policies(SCOPE) == second
        assert await store.policies(SCOPE, 1) == first
        assert await store.policies(SCOPE, 3) is None
        assert await store.policy_history(SCOPE) == (replace(second, programs={}), replace(first, programs={}))
        assert await store.policy_history(SCOPE, limit=1) == (replace(second, programs={}),)
        assert [change.kind for change in await collect(other, cursor, 2)] == ["policies", "policies"]

    @scenario
    async def test_a_policy_revision_is_published_once(self, store: Store, other: Store) -> None:
        """Of two who replace one revision, one succeeds and the other hears which revision is there."""
        racing = [handle.put_policies(SCOPE, PolicyRevision(0, {})) for handle in (store, other, store, other)]
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        lost = [outcome for outcome in outcomes if isinstance(outcome, RevisionConflict)]
        assert [(conflict.expected, conflict.actual) for conflict in lost] == [(0, 1)] * 3
        with pytest.raises(RevisionConflict):
            await store.put_policies(SCOPE, PolicyRevision(5, {}))
        assert len(await store.policy_history(SCOPE)) == 1

    @scenario
    async def test_endpoints_live_as_long_as_their_leases(self, store: Store, other: Store) -> None:
        """An endpoint is there until its lease runs out or it is taken away; the order is that of registration."""
        first, second = (
            Endpoint("shop", f"http://127.0.0.1:{port}", version=f"v{port}", labels={"a": "é"}) for port in (2, 1)
        )
        await store.register(SCOPE, first, ttl=60)
        await other.register(SCOPE, second, ttl=60)
        await store.register(SCOPE, first, ttl=60)
        assert await other.endpoints(SCOPE) == (first, second)
        changed = replace(first, weight=5)
        await store.register(SCOPE, changed, ttl=60)
        assert await other.endpoints(SCOPE) == (changed, second)
        await other.deregister(SCOPE, first)
        await other.deregister(SCOPE, first)
        assert await store.endpoints(SCOPE) == (second,)
        await store.register(SCOPE, first, ttl=0.05)
        async with asyncio.timeout(PATIENCE):
            while await other.endpoints(SCOPE) != (second,):  # noqa: ASYNC110 - leases end without an event
                await asyncio.sleep(0.02)

    @scenario
    async def test_watchers_hear_of_endpoints_that_come_change_and_go(self, store: Store) -> None:
        """Watchers hear of new, changed and removed endpoints, and not of renewed leases."""
        cursor = await store.cursor()
        endpoint = Endpoint("shop", "http://127.0.0.1:1")
        for registered in (endpoint, endpoint, replace(endpoint, weight=2)):
            await store.register(SCOPE, registered, ttl=60)
        await store.deregister(SCOPE, endpoint)
        await store.put_key(SCOPE, SigningKey("end", bytes(16)))
        kinds = [change.kind for change in await collect(store, cursor, 4)]
        assert kinds == ["services", "services", "services", "keys"]

    @scenario
    async def test_keys_are_newest_first(self, store: Store, other: Store) -> None:
        """The key that was added last is first; adding one again makes it the newest."""
        for kid in ("a", "b", "c"):
            await store.put_key(SCOPE, SigningKey(kid, kid.encode() * 32))
        assert await other.keys(SCOPE) == tuple(SigningKey(kid, kid.encode() * 32) for kid in ("c", "b", "a"))
        await store.put_key(SCOPE, SigningKey("a", b"new" * 8))
        assert await other.keys(SCOPE) == (
            SigningKey("a", b"new" * 8),
            SigningKey("c", b"c" * 32),
            SigningKey("b", b"b" * 32),
        )

    @scenario
    async def test_retain_erases_what_has_not_changed_for_long(self, store: Store) -> None:
        """Entities of one model that have not changed for long go, with their history, and watchers hear of each."""
        await store.append([move("old"), move("kept"), move("u", model="user"), move("x", outcome=Outcome.ABORTED)])
        await asyncio.sleep(0.02)
        moment = datetime.now(UTC)
        await asyncio.sleep(0.02)
        await store.append([move("kept", "paid"), move("new")])
        cursor = await store.cursor()
        assert await store.retain(SCOPE, "order", moment) == 1
        assert [context.entity_id for context in (await store.list(SCOPE, "order")).contexts] == ["kept", "new"]
        assert await store.history(SCOPE, EntityRef("order", "old")) == ()
        assert await store.history(SCOPE, EntityRef("order", "x")) == ()
        assert len(await store.history(SCOPE, EntityRef("order", "kept"))) == 2
        assert await context_of(store, EntityRef("user", "u")) is not None
        (change,) = await collect(store, cursor, 1)
        assert (change.kind, change.ref) == ("forgotten", EntityRef("order", "old"))
        assert await store.retain(SCOPE, "order", moment) == 0
        assert await store.retain(SCOPE, "order", datetime.now(UTC) + timedelta(hours=1)) == 2

    @scenario
    async def test_forget_erases_an_entity_and_tells(self, store: Store, other: Store) -> None:
        """Forgetting gives a receipt, leaves neither context nor history, and every watcher hears of it."""
        cursor = await other.cursor()
        await store.append([move(), move(to_state="paid"), move("o-2")])
        receipt = await store.forget(SCOPE, ORDER)
        assert (receipt.ref, receipt.contexts, receipt.transitions) == (ORDER, 1, 2)
        assert await context_of(other) is None
        assert await other.history(SCOPE, ORDER) == ()
        assert await context_of(other, EntityRef("order", "o-2")) is not None
        changes = await collect(other, cursor, 2)
        assert [change.ref for change in changes if change.kind == "forgotten"] == [ORDER]
        again = await store.forget(SCOPE, ORDER)
        assert (again.contexts, again.transitions) == (0, 0)

    @scenario
    async def test_what_was_forgotten_is_not_told_to_who_comes_late(self, store: Store) -> None:
        """A watcher that had not come to a transition before its entity was forgotten hears nothing of it any more."""
        watch = aclosing(watching(store, await store.cursor()))
        async with watch as changes, asyncio.timeout(PATIENCE):
            first = asyncio.create_task(anext(changes))
            await asyncio.sleep(0.1)
            await store.append([move("o-2")])
            assert (await first).applied is not None
            await store.append([move()])
            await store.forget(SCOPE, ORDER)
            change = await anext(changes)
            assert (change.kind, change.ref) == ("forgotten", ORDER)

    @scenario
    async def test_what_was_forgotten_does_not_come_back_by_a_retry(self, store: Store) -> None:
        """An event that comes again after its entity was forgotten changes nothing; a new one begins at revision 1."""
        sent = move()
        await store.append([sent])
        await store.forget(SCOPE, ORDER)
        assert statuses(await store.append([sent])) == [DUPLICATE]
        assert await context_of(store) is None
        assert await store.append([move()]) == (AppendResult(APPLIED, 1),)

    @scenario
    async def test_a_store_may_be_closed_twice_and_opened_again(self, store: Store) -> None:
        """Closing again does nothing, and opening again finds what was stored."""
        await store.append([move()])
        await store.close()
        await store.close()
        await store.open()
        assert (await context_of(store) is not None) or not self.remembers
