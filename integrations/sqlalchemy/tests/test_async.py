"""The same with ``AsyncSession``."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from mcp_sdk import model_context


def test_an_asynchronous_commit_publishes(shop, stored, open_async):
    """The transition waits for the commit of the asynchronous session."""

    async def run():
        async with open_async() as session:
            shop.pay(await session.get(shop.Order, "o-1"))
            before = await asyncio.to_thread(stored)
            await session.commit()
            return before

    assert asyncio.run(run()) is None
    assert stored().state == "paid"


def test_an_asynchronous_rollback_withdraws(shop, stored, open_async):
    """An exception inside ``async with session.begin()`` withdraws."""

    async def run():
        async with open_async() as session, session.begin():
            shop.pay(await session.get(shop.Order, "o-1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
    assert stored() is None


def test_by_id_the_task_s_session_is_waited_for(shop, stored, open_async):
    """A method that was given an id waits for the session that its own task began, not a sibling's."""

    async def work(number, finish):
        async with open_async() as session:
            await session.get(shop.Order, number)
            await asyncio.sleep(0)
            shop.pay_by_id(number)
            await getattr(session, finish)()

    async def run():
        await asyncio.gather(work("o-1", "rollback"), work("o-2", "commit"))

    asyncio.run(run())
    assert (stored("o-1"), stored("o-2").state) == (None, "paid")


def test_an_expired_row_is_published_and_never_awaited(mesh, work, shop, stored, open_async):
    """After its own commit a method's row has expired; what was committed is published, and can be bound."""

    @model_context(model="order", state="created")
    async def create(session, number):
        order = shop.Order(number=number, status=shop.Status.CREATED, amount=Decimal("5.25"))
        session.add(order)
        await session.commit()
        mesh.bind(order)

    async def run():
        async with open_async() as session:
            await create(session, "o-9")

    asyncio.run(run())
    assert (stored("o-9").state, stored("o-9").attributes) == ("created", {"amount": 525})
