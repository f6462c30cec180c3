"""Time and ids."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC

import pytest

from mcp_sdk.clock import EventIds, Runtime, SystemClock


def test_the_system_s_clock_is_in_utc_and_never_goes_back() -> None:
    """Both readings are the machine's."""
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def test_ids_are_unique_across_threads_and_makers() -> None:
    """A prefix for each maker, a count within."""
    runtimes = [Runtime(), Runtime()]
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda index: runtimes[index % 2].ids(), range(2000)))
    assert len(set(ids)) == 2000


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_takes_a_prefix_of_its_own() -> None:
    """Also where nobody tells it that it was forked."""
    ids = EventIds()
    before = ids().partition("-")[0]
    child = os.fork()
    if not child:
        os._exit(0 if ids().partition("-")[0] != before else 1)
    assert os.waitpid(child, 0)[1] == 0
