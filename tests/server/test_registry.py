"""What services declare of themselves: their models, which are theirs, and their endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from desks import Served, served, served_by_two
from minting import mint_client
from serving import Replica

from mcp_sdk import BusinessModel
from mcp_sdk.context import Scope
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.endpoints import Endpoints
from mcp_sdk.server.faults import Fault
from mcp_sdk.services import Endpoint
from mcp_sdk.stores.memory import MemoryStore

PUBLISHER, OPERATOR = Grant("publisher"), Grant("operator")
ORDER = BusinessModel("order", states=("created", "paid"), attributes={"amount": "int"})


async def declare(client: httpx.AsyncClient, *models: BusinessModel, **params: Any) -> httpx.Response:
    """Declare models."""
    body = {"models": [model.to_dict() for model in models]}
    return await client.post("/v1/models", json=body, params=params)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"retention": 1.0}, "retention"),
        ({"states": ("created", "stolen")}, "states"),
        ({"transitions": {"paid": ("created",)}}, "transitions"),
        ({"attributes": {"more": "int"}}, "attributes"),
        ({"enforce": True}, "enforce"),
        ({"principal": True}, "principal"),
    ],
)
def test_another_service_cannot_change_a_model(change: dict[str, Any], named: str) -> None:
    """What it would add is refused and named, and nothing of what it sent with it is declared."""

    async def work(at: Served) -> None:
        shop, thief = [await at.client(PUBLISHER, service=name) for name in ("shop", "thief")]
        assert (await declare(shop, ORDER)).status_code == 204
        answer = await declare(thief, BusinessModel("loot"), replace(ORDER, **change))
        problem = answer.json()
        assert (answer.status_code, problem["type"]) == (403, "urn:mcp-sdk:problem:not-owner")
        assert problem["owners"] == ["shop"]
        assert f"order: {named}" in problem["detail"]
        assert await at.store.models(Scope()) == (ORDER,)

    served(work)


def test_another_service_may_declare_what_it_only_reads() -> None:
    """What adds nothing, in whatever order it says it, is no change; and it makes nobody an owner."""

    async def work(at: Served) -> None:
        shop, reader = [await at.client(PUBLISHER, service=name) for name in ("shop", "reader")]
        await declare(shop, replace(ORDER, retention=60.0))
        read = replace(ORDER, states=("paid", "created"), attributes={})
        assert (await declare(reader, read, BusinessModel("cart"))).status_code == 204
        assert [model.name for model in await at.store.models(Scope())] == ["cart", "order"]
        assert (await at.store.models(Scope()))[1] == replace(ORDER, retention=60.0)
        owners = (await shop.get("/v1/owners")).json()["owners"]
        assert owners == {"order": ["shop"], "cart": ["reader"]}

    served(work)


def test_a_second_owner_may_change_a_model() -> None:
    """Whom an operator names an owner declares as the first one does."""

    async def work(at: Served) -> None:
        shop, second = [await at.client(PUBLISHER, service=name) for name in ("shop", "second")]
        operator = await at.client(OPERATOR)
        await declare(shop, ORDER)
        await operator.put("/v1/owners/order", json={"services": ["shop", "second"]})
        assert (await declare(second, replace(ORDER, retention=60.0))).status_code == 204
        assert (await at.store.models(Scope()))[0].retention == 60.0

    served(work)


def test_what_was_kept_for_ever_is_shortened_by_an_owner_or_an_operator() -> None:
    """A shorter retention erases: a publisher of no service, or of one of many, is told who may."""

    async def work(at: Served) -> None:
        short, tool = replace(ORDER, retention=1.0), await at.client(PUBLISHER)
        shop, guest = [await at.client(PUBLISHER, service=name) for name in ("shop", "guest")]
        operator = await at.client(OPERATOR)
        await declare(shop, ORDER)
        await operator.put("/v1/owners/order", json={"services": ["*"]})
        for client in (tool, guest):
            answer = await declare(client, short)
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:mcp-sdk:problem:retention")
        assert (await declare(tool, replace(ORDER, enforce=True))).status_code == 204
        assert (await declare(operator, short)).status_code == 204

    served(work)


def test_two_versions_with_another_retention_are_refused_with_the_difference() -> None:
    """Neither is chosen, not even for the owner: else the version that started last would decide what is erased."""

    async def work(at: Served) -> None:
        shop = await at.client(PUBLISHER, service="shop")
        await declare(shop, replace(ORDER, retention=3600.0))
        answer = await declare(shop, replace(ORDER, retention=60.0))
        assert (answer.status_code, "3600.0 and 60.0" in answer.json()["detail"]) == (422, True)
        operator = await at.client(OPERATOR)
        assert (await declare(operator, replace(ORDER, retention=60.0), replace="true")).status_code == 204

    served(work)


class Slow(MemoryStore):
    """A store that lets others in between reading the models and writing them."""

    async def models(self, scope: Scope) -> tuple[BusinessModel, ...]:
        """Give the models, and the turn to others."""
        found = await super().models(scope)
        await asyncio.sleep(0.01)
        return found


def test_no_declaration_is_lost_of_many_at_once() -> None:
    """Two replicas take declarations of one model at the same time: all that was acknowledged is in it."""

    async def work(one: Served, other: Served) -> None:
        client = await one.client(PUBLISHER, service="shop")
        await other.desk.hub.tokens.learn()
        second = httpx.AsyncClient(
            transport=httpx.ASGITransport(other.app), base_url="http://test", headers=client.headers, timeout=20
        )
        versions = [replace(ORDER, attributes={f"a{number}": "int"}) for number in range(8)]
        answers = await asyncio.gather(
            *(declare((client, second)[number % 2], version) for number, version in enumerate(versions))
        )
        assert [answer.status_code for answer in answers] == [204] * 8
        (order,) = await one.store.models(Scope())
        assert set(order.attributes) == {f"a{number}" for number in range(8)}

    served_by_two(work, Slow())


def test_of_two_services_that_declare_a_new_model_at_once_one_owns_it() -> None:
    """The other one is refused what it would add, though nobody owned the model when it asked."""

    async def work(at: Served) -> None:
        clients: Sequence[httpx.AsyncClient] = [await at.client(PUBLISHER, service=name) for name in ("a", "b")]
        sent = [declare(client, replace(ORDER, retention=1.0 + n)) for n, client in enumerate(clients)]
        codes = [answer.status_code for answer in await asyncio.gather(*sent)]
        assert sorted(codes) == [204, 403]
        won = codes.index(204)
        assert (await clients[0].get("/v1/owners")).json()["owners"] == {"order": ["ab"[won]]}
        assert (await at.store.models(Scope()))[0].retention == 1.0 + won

    served(work, Slow())


def test_a_service_announces_its_own_endpoints_only() -> None:
    """A token of one service neither announces nor removes an endpoint of another one, whatever its targets are."""

    async def work(at: Served) -> None:
        orders, payments = [await at.client(PUBLISHER, service=name) for name in ("orders", "payments")]
        tool = await at.client(PUBLISHER)
        lease = {"endpoint": {"service": "payments", "url": "http://127.0.0.1:1"}}
        assert (await payments.post("/v1/services", json=lease)).status_code == 204
        assert (await tool.post("/v1/services", json=lease)).status_code == 204
        evil = {"endpoint": {"service": "payments", "url": "http://127.0.0.1:6"}}
        refused = await orders.post("/v1/services", json=evil)
        assert refused.status_code == 403
        assert "speaks for 'orders'" in refused.json()["detail"]
        where = {"service": "payments", "url": "http://127.0.0.1:1"}
        assert (await orders.delete("/v1/services", params=where)).status_code == 403
        assert [one.url for one in await at.store.endpoints(Scope())] == ["http://127.0.0.1:1"]
        assert (await payments.delete("/v1/services", params=where)).status_code == 204

    served(work)


def lease(number: int, service: str = "shop") -> dict[str, Any]:
    """Give what announces an endpoint for a minute."""
    return {"endpoint": {"service": service, "url": f"http://127.0.0.1:{number}"}, "ttl": 60}


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"service_endpoints": 2}, "'shop' has 2 endpoints in default/default already"),
        ({"endpoints": 2}, "default/default has 2 endpoints already"),
    ],
)
def test_more_endpoints_than_the_bound_are_refused(bounds: dict[str, int], said: str) -> None:
    """A new one is told what is full; those that are announced are renewed, and one that goes makes room."""

    async def work(at: Served) -> None:
        tool = await at.client(PUBLISHER)
        await at.store.register(Scope(), Endpoint("shop", "http://127.0.0.1:1"), ttl=60)
        assert (await tool.post("/v1/services", json=lease(2))).status_code == 204
        refused = await tool.post("/v1/services", json=lease(3))
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:mcp-sdk:problem:too-many-endpoints")
        assert refused.json()["detail"].startswith(f"{said}, so http://127.0.0.1:3 is not announced")
        assert refused.headers["retry-after"] == "5"
        for number in (1, 2):
            assert (await tool.post("/v1/services", json=lease(number))).status_code == 204
        await tool.delete("/v1/services", params=lease(1)["endpoint"])
        assert (await tool.post("/v1/services", json=lease(3))).status_code == 204
        assert [one.url for one in await at.store.endpoints(Scope())] == ["http://127.0.0.1:2", "http://127.0.0.1:3"]

    served(work, **bounds)


def test_a_full_service_leaves_room_for_others() -> None:
    """The bound of one service is its own."""

    async def work(at: Served) -> None:
        tool = await at.client(PUBLISHER)
        answers = [await tool.post("/v1/services", json=lease(1, name)) for name in ("shop", "cart")]
        assert [answer.status_code for answer in answers] == [204, 204]
        assert (await tool.post("/v1/services", json=lease(2))).status_code == 503

    served(work, service_endpoints=1)


def test_who_serves_sets_both_bounds(tmp_path: Path) -> None:
    """By options of ``mcpctl serve``."""
    options = ("--endpoints", "2", "--service-endpoints", "1")
    with Replica(tmp_path, options=options) as replica, mint_client(replica, PUBLISHER) as tool:
        answers = [tool.post("/v1/services", json=lease(*of)) for of in ((1,), (2,), (1, "cart"), (1, "stock"))]
    assert [answer.status_code for answer in answers] == [204, 503, 204, 503]
    assert answers[1].json()["detail"].startswith("'shop' has 1 endpoints in default/default already")
    assert answers[3].json()["detail"].startswith("default/default has 2 endpoints already")


class Counted(MemoryStore):
    """A store that counts how often its endpoints are read, and takes its time."""

    reads = 0

    async def endpoints(self, scope: Scope) -> tuple[Endpoint, ...]:
        """Give the endpoints."""
        self.reads += 1
        found = await super().endpoints(scope)
        await asyncio.sleep(0.01)
        return found


def test_many_that_come_at_once_do_not_pass_the_bound() -> None:
    """Twenty at the same time are counted one after another, from one reading of the store."""

    async def work() -> list[bool | BaseException]:
        store = Counted()
        await store.open()
        endpoints = Endpoints(store, most=5, each=5)
        sent = [endpoints.register(Scope(), Endpoint("shop", f"http://h:{n}"), ttl=60) for n in range(20)]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert (len(await store.endpoints(Scope())), store.reads) == (5, 2)
        return [isinstance(answer, Fault) for answer in answers]

    assert asyncio.run(work()).count(True) == 15


def test_what_another_replica_took_away_is_counted_no_longer() -> None:
    """The store is read again once what was read is a second old."""

    async def work() -> None:
        store = MemoryStore()
        await store.open()
        endpoints, first = Endpoints(store, most=1, each=1), Endpoint("shop", "http://h:1")
        await endpoints.register(Scope(), first, ttl=60)
        await store.deregister(Scope(), first)

        async def taken() -> bool:
            with suppress(Fault):
                await endpoints.register(Scope(), Endpoint("shop", "http://h:2"), ttl=60)
                return True
            return False

        async with asyncio.timeout(10):
            while not await taken():  # noqa: ASYNC110 - another replica is waited for
                await asyncio.sleep(0.05)

    asyncio.run(work())
