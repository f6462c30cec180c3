"""Rate limits and concurrency, counted in the process."""

import asyncio
import os

import pytest
from scripted import SetClock, call, scope_of

from mcp_sdk import Decision, DecisionLog, Reason, Shed, Throttled
from mcp_sdk.decisions import Limit, Qos
from mcp_sdk.middleware import MeshMiddleware, decision
from mcp_sdk.middleware.admission import Buckets, Gate

REASON = Reason("burst", "RateLimitPolicy", "all", "limit")


def limit(requests=2, per=10.0, burst=2, key="k", policy="burst"):
    """Give a limit."""
    return Limit(policy, key, requests, per, burst, REASON)


@pytest.fixture
def buckets(clock):
    """Give buckets under a clock that stands."""
    return Buckets(clock)


def test_a_bucket_gives_its_burst_and_then_says_when(buckets, clock):
    """Two at once, the third after five seconds at two in ten."""
    assert [buckets.spend([limit()]) for _ in range(2)] == [None, None]
    refusal = buckets.spend([limit()])
    assert isinstance(refusal, Throttled)
    assert refusal.retry_after == pytest.approx(5.0)
    clock.seconds += 5.0
    assert buckets.spend([limit()]) is None


def test_buckets_are_by_policy_and_key(buckets):
    """One caller's spending is not another's."""
    for key in ("a", "b"):
        assert buckets.spend([limit(burst=1, key=key)]) is None
        assert buckets.spend([limit(burst=1, key=key)]) is not None


def test_limits_are_spent_all_or_none(buckets):
    """A call that one limit refuses costs nothing of the others, and waits for the longest."""
    wide, narrow = limit(burst=5, key="wide"), limit(burst=1, key="narrow")
    buckets.spend([wide, narrow])
    assert buckets.spend([wide, narrow]).limit is narrow
    assert buckets.left(wide)[1] == 4


def test_a_bucket_without_a_burst_holds_its_requests(buckets):
    """Burst 0 means as many as the limit itself."""
    assert [buckets.spend([limit(requests=3, burst=0)]) is None for _ in range(4)] == [True, True, True, False]


def test_a_limit_of_nothing_refuses(buckets):
    """Zero requests are zero requests, with a time to come back."""
    refusal = buckets.spend([limit(requests=0, burst=0)])
    assert refusal is not None
    assert refusal.retry_after > 0


def test_memory_is_bounded():
    """The bucket that was not used for longest is forgotten first."""
    buckets = Buckets(SetClock(), size=10)
    for number in range(100):
        buckets.spend([limit(key=str(number))])
    assert len(buckets) == 10


def test_a_clock_that_stands_still_or_goes_back_gives_nothing_away(buckets, clock):
    """Tokens never come from time that did not pass."""
    buckets.spend([limit(burst=1)])
    clock.seconds -= 100
    assert buckets.spend([limit(burst=1)]) is not None


def test_each_priority_fills_its_share():
    """Of ten places low gets five, normal eight, high nine, critical all."""
    for priority, places in (("low", 5), ("normal", 8), ("high", 9), ("critical", 10), ("unknown", 8)):
        gate = Gate(10)
        assert sum(gate.enter(priority) for _ in range(20)) == places


def test_a_small_gate_lets_everybody_in_sometime():
    """With one place, every priority can have it."""
    gate = Gate(1)
    for priority in ("low", "normal", "high", "critical"):
        assert gate.enter(priority)
        gate.leave()


def test_a_forked_child_begins_anew(buckets):
    """A lock that the parent held and what ran there do not come along."""
    gate = Gate(1)
    gate.enter("normal")
    buckets.spend([limit(burst=1)])
    gate._lock.acquire()
    buckets._lock.acquire()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if gate.enter("normal") and buckets.spend([limit(burst=1)]) is None else 1)
    gate._lock.release()
    buckets._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


async def ok(scope, receive, send):
    """Answer 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def served(app, scope=None):
    """Serve one request and give its start message."""
    return asyncio.run(call(app, scope or scope_of()))[0]


def test_a_throttled_request_is_answered_429_and_logged(mesh, plane):
    """The decision that counts is the throttling one; permitted responses say what is left."""
    plane.rule = lambda _: Decision(limits=(limit(burst=1),))
    app = MeshMiddleware(ok, mesh)
    first, second = served(app), served(app)
    assert dict(first["headers"])[b"ratelimit"].startswith(b'"burst";r=0;t=')
    assert second["status"] == 429
    assert mesh.telemetry.decisions.read()["inbound", "burst", "throttle"] == 1


def test_observing_counts_what_it_would_throttle(make_mesh, plane):
    """In mode ``observe`` the request is served and the refusal recorded, as one that was not carried out."""
    records = []
    plane.rule = lambda _: Decision(limits=(limit(burst=1),))
    mesh = make_mesh(mode="observe")
    mesh.decision_log = DecisionLog(records.append)
    app = MeshMiddleware(ok, mesh)
    served(app)
    scope = scope_of()
    assert served(app, scope)["status"] == 200
    assert isinstance(decision(scope).verdict, Throttled)
    told = [(record["verdict"], record.get("enforced")) for record in records]
    assert told == [("permit", None), ("permit", None), ("throttle", False)]


def test_over_capacity_the_lowest_priority_is_shed(make_mesh, plane):
    """While places are taken a low request is shed and a critical one is served; places come back."""
    mesh = make_mesh(max_concurrency=2)
    inner = []

    async def busy(scope, receive, send):
        if scope["path"] == "/outer":
            for priority in ("low", "critical"):
                plane.rule = lambda _, p=priority: Decision(qos=Qos(p))
                sent = await call(app, scope_of(path="/inner"))
                inner.append(sent[0]["status"])
        await ok(scope, receive, send)

    app = MeshMiddleware(busy, mesh)
    assert served(app, scope_of(path="/outer"))["status"] == 200
    assert inner == [503, 200]
    assert app.enforcer._gate.running == 0


def test_a_shed_request_costs_no_tokens(make_mesh, plane):
    """Whoever is shed may come back at once for the limit's sake."""
    mesh = make_mesh(max_concurrency=1)
    plane.rule = lambda _: Decision(limits=(limit(burst=5),), qos=Qos("low"))
    app = MeshMiddleware(ok, mesh)
    app.enforcer._gate.enter("low")
    assert served(app)["status"] == 503
    assert app.enforcer._buckets.left(limit(burst=5))[1] == 5
    assert mesh.telemetry.decisions.read()["inbound", "admission", "shed"] == 1


def test_shed_is_a_word_of_its_own():
    """The verdict names the priority that had to wait."""
    assert Shed(1.0, "low").name == "shed"


def in_shadow(**fields):
    """Give a decision with a limit in shadow beside what is in force."""
    told = Reason("tried", "RateLimitPolicy", "all", "limit", shadow=True)
    tried = Limit("tried", "k", 1, 10.0, 1, told)
    return Decision(shadow=Decision(limits=(tried, *fields.get("limits", ()))), **fields)


def test_a_limit_in_shadow_is_counted_and_throttles_nobody(mesh, plane):
    """What it would have throttled is counted and logged; the response shows nothing of it."""
    records = []
    mesh.decision_log = DecisionLog(records.append)
    plane.rule = lambda _: in_shadow()
    app = MeshMiddleware(ok, mesh)
    first, second = served(app), served(app)
    assert (first["status"], second["status"]) == (200, 200)
    assert b"ratelimit" not in dict(second["headers"])
    counted = mesh.telemetry.shadows.read()
    assert counted == {("inbound", "tried", "limit"): 2, ("inbound", "tried", "throttle"): 1}
    assert [record["shadow"]["verdict"] for record in records] == ["permit", "permit", "throttle"]


def test_limits_in_shadow_do_not_spend_those_in_force(mesh, plane):
    """Both count apart, and what is in force throttles when its own bucket is empty."""
    plane.rule = lambda _: in_shadow(limits=(limit(burst=2),))
    app = MeshMiddleware(ok, mesh)
    assert [served(app)["status"] for _ in range(3)] == [200, 200, 429]
