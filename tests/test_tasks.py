"""Tasks are ended for certain."""

from __future__ import annotations

import asyncio

import pytest

from mcp_sdk.tasks import ended

pytestmark = pytest.mark.anyio


async def test_a_task_that_lost_one_cancellation_is_cancelled_again() -> None:
    lost = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await ended([task])
    assert lost.is_set()
    assert task.cancelled()


async def test_what_an_ended_task_raises_is_dropped() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    task = asyncio.create_task(broken())
    await ended([task])
    assert task.done()


async def test_nothing_to_end_is_ended_at_once() -> None:
    await ended([])
