"""The loop thread, and values of one process."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading

import pytest

from mcp_sdk.control.loop import LoopThread, PerProcess
from mcp_sdk.exceptions import StoreUnavailable

marker: contextvars.ContextVar[str] = contextvars.ContextVar("marker", default="fresh")


def test_a_loop_thread_starts_with_the_first_call_and_ends():
    """Making one starts nothing; stopping ends the thread and closes the loop; what comes later is refused."""
    loop = LoopThread("test")
    before = threading.active_count()
    assert not loop.running
    assert loop.submit(lambda: asyncio.sleep(0, "done")).result(5) == "done"
    assert threading.active_count() == before + 1
    assert loop.stop(5)
    assert threading.active_count() == before
    assert not loop.call(print)
    with pytest.raises(StoreUnavailable, match="closed"):
        loop.submit(lambda: asyncio.sleep(0)).result(0)


def test_stopping_what_never_ran_does_nothing():
    """A thread that was never needed can be stopped, and is not started afterwards."""
    loop = LoopThread("test")
    assert loop.stop(1)
    assert not loop.call(print)
    assert not loop.running


def test_stopping_cancels_what_runs():
    """Tasks that still wait are cancelled, clean up, and their callers hear of it."""
    loop, started, cleaned = LoopThread("test"), threading.Event(), threading.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    future = loop.submit(wait)
    assert started.wait(5)
    assert loop.stop(5)
    assert cleaned.is_set()
    with pytest.raises(StoreUnavailable, match="closed"):
        future.result(1)


def test_work_runs_in_a_fresh_context():
    """The thread does not keep the context variables of whoever caused it to start."""
    token = marker.set("request")
    try:
        loop = LoopThread("test")

        async def look() -> str:
            return marker.get()

        assert loop.submit(look).result(5) == "fresh"
        loop.stop(5)
    finally:
        marker.reset(token)


def test_errors_reach_the_caller():
    """What work raises is the future's exception."""
    loop = LoopThread("test")

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        loop.submit(fail).result(5)
    loop.stop(5)


@pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning")
def test_each_process_makes_its_own_value():
    """A child has a value of its own, hears of its parent's once, and the parent keeps its."""
    told: list[str] = []
    values = PerProcess(lambda: f"of {os.getpid()}", told.append)
    ours = values.get()
    assert values.peek() == ours
    child = os.fork()
    if child == 0:
        right = values.get() == f"of {os.getpid()}" and values.get() is values.get() and told == [ours]
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert values.get() is ours
    assert not told


def test_a_fork_without_hooks_is_noticed():
    """Where no fork hook ran (uWSGI), the process id alone makes a child begin with its own value."""
    values = PerProcess(object)
    parent, child = object(), object()
    values._values = {os.getpid() + 1: parent}
    assert values.peek() is None
    assert values.get() is not parent
    values._values[os.getpid()] = child
    assert values.get() is child


def test_threads_that_begin_together_agree_on_one_value():
    """Of two threads that need the first value at once, both get the same."""
    values = PerProcess(object)
    barrier, found = threading.Barrier(8), []

    def get() -> None:
        barrier.wait()
        found.append(values.get())

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
