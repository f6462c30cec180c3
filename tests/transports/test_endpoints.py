"""Which endpoint takes a call."""

import os
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import SetClock

from mcp_sdk.services import Endpoint
from mcp_sdk.transports.endpoints import EJECTED, Balancer


def endpoints(*weights):
    """Give an endpoint for each weight."""
    return tuple(Endpoint("s", f"http://h{number}", weight=weight) for number, weight in enumerate(weights))


@pytest.fixture
def balancer(clock):
    """Give a balancer of a known seed."""
    return Balancer(clock, rng=random.Random(7))


def test_among_equals_calls_go_round(balancer):
    """With nothing running, each takes its turn."""
    some = endpoints(1, 1, 1)
    taken = Counter()
    for _ in range(9):
        endpoint = balancer.choose(some)
        balancer.end(endpoint)
        taken[endpoint.url] += 1
    assert set(taken.values()) == {3}


def test_among_equals_the_least_busy_takes_the_call(balancer):
    """An endpoint that is slow to answer gets fewer calls."""
    some = endpoints(1, 1)
    busy = balancer.choose(some)
    assert balancer.choose(some) is not busy
    balancer.end(busy)
    assert balancer.choose(some) is busy


def test_weights_are_shares(balancer):
    """Three to one is three of four calls, roughly."""
    some = endpoints(3, 1)
    taken = Counter()
    for _ in range(4000):
        endpoint = balancer.choose(some)
        balancer.end(endpoint)
        taken[endpoint.url] += 1
    assert 0.72 < taken["http://h0"] / 4000 < 0.78


def test_weight_nothing_takes_nothing(balancer):
    """An endpoint that is being drained gets no calls."""
    assert balancer.choose(endpoints(0, 1)).url == "http://h1"
    assert balancer.choose(endpoints(0)) is None


def test_a_dead_endpoint_rests_for_a_while(balancer, clock):
    """It is passed over until its time is up."""
    some = endpoints(1, 1)
    dead = balancer.choose(some)
    balancer.end(dead, dead=True)
    assert all(balancer.choose(some) is not dead for _ in range(4))
    clock.seconds += EJECTED + 1
    assert balancer.choose(some) is dead


def test_when_all_are_dead_one_is_tried_all_the_same(balancer):
    """Better a call that may fail than none."""
    (only,) = endpoints(1)
    balancer.end(balancer.choose((only,)), dead=True)
    assert balancer.choose((only,)) is only


def test_what_was_tried_is_not_taken_again(balancer):
    """A second attempt goes elsewhere."""
    some = endpoints(1, 1)
    assert balancer.choose(some, ["http://h0"]).url == "http://h1"
    assert balancer.choose(some, ["http://h0", "http://h1"]) is None


@given(st.lists(st.integers(0, 5), max_size=6), st.lists(st.booleans(), max_size=30))
def test_counts_return_to_nothing(weights, deaths):
    """Whatever is chosen and ended, nothing runs at the end."""
    balancer, some = Balancer(SetClock()), endpoints(*weights)
    for dead in deaths:
        endpoint = balancer.choose(some)
        if endpoint is not None:
            balancer.end(endpoint, dead=dead)
    assert all(balancer.running(endpoint) == 0 for endpoint in some)


def test_a_forked_child_begins_with_nothing_running(balancer):
    """What the parent has running is not the child's."""
    (only,) = endpoints(1)
    balancer.choose((only,))
    balancer._lock.acquire()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if balancer.running(only) == 0 and balancer.choose((only,)) else 1)
    balancer._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
