"""What a handle wrote itself comes to its watches as it was written, in order, and is never kept for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from mcp_sdk.ports import Change, Cursor
from mcp_sdk.stores.echoes import MOST, Echoes


def run(work: Callable[[Echoes[int]], Awaitable[None]]) -> None:
    """Do ``work`` on a loop; the echoes belong to it."""

    async def working() -> None:
        async with asyncio.timeout(30):
            await work(Echoes())

    asyncio.run(working())


def changes(first: int, count: int = 1) -> Sequence[Change]:
    return [Change("transition", Cursor(f"log:{number}")) for number in range(first, first + count)]


def write(to: Echoes[int], first: int, count: int = 1, size: int = 0) -> None:
    with to.writing() as tell:
        tell(first - 1, size, lambda: changes(first, count))


def test_runs_follow_each_other() -> None:
    """A watch takes what was written next to where it stands, run by run."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()
        write(own, 1, 3)
        write(own, 4)
        assert echo.take(0) == changes(1, 3)
        assert echo.take(3) == changes(4)
        assert echo.take(4) == ()

    run(work)


def test_what_others_wrote_is_left_to_be_read() -> None:
    """Where another's change comes first, nothing is given; the limit says up to where to read."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()
        write(own, 3)
        assert (echo.take(0), echo.limit) == ((), 2)
        assert await echo.following(0) == ()
        assert (echo.take(2), echo.limit) == (changes(3), None)

    run(work)


def test_runs_may_be_told_out_of_order() -> None:
    """Answers of two writes may come in the other order than they were written."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()
        write(own, 2)
        write(own, 1)
        assert [*echo.take(0), *echo.take(1)] == changes(1, 2)

    run(work)


def test_what_was_read_already_is_dropped() -> None:
    """A run that a watch has read, or read a part of, is passed over."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()
        write(own, 1, 3)
        write(own, 4)
        assert echo.take(2) == ()
        assert echo.take(3) == changes(4)

    run(work)


def test_a_slow_watch_reads() -> None:
    """More than so many bytes are not kept for one watch; what is written after that is."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()
        write(own, 1, size=MOST // 2)
        write(own, 2, size=MOST // 2)
        assert (echo.take(0), echo.limit) == ((), None)
        write(own, 3)
        assert echo.take(2) == changes(3)

    run(work)


def test_nothing_is_made_for_nobody() -> None:
    """Where nobody watches, changes are not even made."""

    async def work(own: Echoes[int]) -> None:
        own.leave(own.join())
        assert not own.wanted
        with own.writing() as tell:
            tell(0, 0, lambda: 1 // 0)

    run(work)


def test_what_may_be_erased_is_not_kept() -> None:
    """Clearing drops what waits, and wakes who watches."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()
        write(own, 1)
        await echo.wait(0)
        waiting = asyncio.create_task(echo.wait(60))
        await asyncio.sleep(0.01)
        own.clear()
        await waiting
        assert echo.take(0) == ()

    run(work)


def test_what_is_erased_while_it_is_written_is_not_kept() -> None:
    """An answer to a write that comes after that to erasing is not kept, whether erasing succeeded or not."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()
        with own.writing() as tell:
            with suppress(OSError), own.erasing():
                raise OSError
            tell(0, 0, lambda: changes(1))
        assert (echo.take(0), echo.limit) == ((), None)

    run(work)


def test_a_watch_is_woken_for_what_is_not_kept() -> None:
    """What was written while something else was erased wakes who watches all the same, so that it is read."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()
        with own.writing() as tell:
            own.clear()
            await echo.wait(0)
            waiting = asyncio.create_task(echo.wait(60))
            await asyncio.sleep(0.01)
            tell(0, 0, lambda: changes(1))
        await waiting

    run(work)


def test_a_watch_waits_for_the_write_that_is_under_way() -> None:
    """A watch that hears of a write before its writer does takes it all the same as it was written."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()
        with own.writing() as tell:
            following = asyncio.create_task(echo.following(0))
            await asyncio.sleep(0.01)
            tell(0, 0, lambda: changes(1))
        assert await following == changes(1)

    run(work)


def test_a_watch_waits_for_no_write_that_fails() -> None:
    """Once the write that was under way has failed, the watch reads."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()
        with own.writing():
            following = asyncio.create_task(echo.following(0))
            await asyncio.sleep(0.01)
        assert await following == ()

    run(work)


def test_a_watch_does_not_wait_long() -> None:
    """Neither a write that hangs holds a watch up, nor many, one after another, that add nothing to the log."""

    async def work(own: Echoes[int]) -> None:
        echo = own.join()

        async def write_again_and_again() -> None:
            while True:
                with own.writing():
                    await asyncio.sleep(0.001)

        with own.writing():
            assert await echo.following(0) == ()
            writing = asyncio.create_task(write_again_and_again())
            assert await echo.following(0) == ()
            writing.cancel()

    run(work)
