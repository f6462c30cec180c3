"""What bounds all requests together: the bytes of bodies that are under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from desks import Served, served

from mcp_sdk.server.access.callers import Grant

MODELS = b'{"models": []}'
JSON = {"content-type": "application/json"}


def test_bodies_that_are_under_way_share_one_budget() -> None:
    """One that finds no room is told when to ask again, at once, and has it when the others are done."""

    async def work(at: Served) -> None:
        client, taken, go = await at.client(Grant("admin")), asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield MODELS + b" " * 900
            taken.set()
            await go.wait()
            yield b" "

        async def send(body: bytes | AsyncIterator[bytes]) -> tuple[int, str | None]:
            answer = await client.post("/v1/models", content=body, headers=JSON)
            return answer.status_code, answer.headers.get("retry-after")

        first = asyncio.create_task(send(slowly()))
        large = MODELS + b" " * 200
        await taken.wait()
        assert await send(large) == (503, "1")
        assert await send(MODELS) == (204, None)
        go.set()
        assert await first == (204, None)
        assert [await send(large) for _ in range(20)] == [(204, None)] * 20

    served(work, body_size=1000, bodies=1000)


def test_a_body_that_is_refused_gives_its_room_back() -> None:
    """Too large, too slow or not understood: none of these leaves less room for the next."""

    async def work(at: Served) -> None:
        client = await at.client(Grant("admin"))

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b" " * 300

        for body, status in ((endless(), 413), (b"x" * 900, 400), (b"[1]" + b" " * 900, 422)):
            answer = await client.post("/v1/models", content=body, headers=JSON)
            assert answer.status_code == status
        answer = await client.post("/v1/models", content=MODELS + b" " * 900, headers=JSON)
        assert answer.status_code == 204

    served(work, body_size=1000, bodies=1000)
