"""The cache of contexts: read-your-writes, and the newest that is known of others."""

from __future__ import annotations

import uuid
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.context import EntityRef, ModelContext, Outcome, Transition, Trust
from mcp_sdk.control.cache import ContextCache
from mcp_sdk.ports import AppendResult, AppendStatus, Applied

REF = EntityRef("order", "o-1")
APPLIED, DUPLICATE, LATE, LOGGED = AppendStatus.APPLIED, AppendStatus.DUPLICATE, AppendStatus.LATE, AppendStatus.LOGGED


def stored(revision: int, state: str = "created", **attributes: object) -> ModelContext:
    return ModelContext("order", "o-1", state, attributes, revision, trust=Trust.STORE)


def move(state: str | None = "paid", **fields: object) -> Transition:
    return Transition("order", "o-1", state, uuid.uuid4().hex, **fields)


def seen(cache: ContextCache) -> tuple[str | None, int, bool] | None:
    known = cache.known(REF)
    return known and (known.state, known.revision, known.tentative)


def test_an_own_change_is_known_at_once():
    """A change that is not stored yet stands on top of what is stored, marked tentative and of this process."""
    cache = ContextCache()
    cache.put([stored(7, amount=1, region="eu")])
    cache.push(move(base_revision=7, attributes={"amount": 2}))
    known = cache.known(REF)
    assert (known.state, known.rank, known.trust) == ("paid", (7, True), Trust.LOCAL)
    assert known.attributes == {"amount": 2, "region": "eu"}


def test_seven_plus_beats_a_stored_seven_and_eight_beats_it():
    """7+ stands over a stored 7 that arrives later, and gives way to an 8 of another process."""
    cache = ContextCache()
    cache.push(move(base_revision=7))
    cache.put([stored(7)])
    assert seen(cache) == ("paid", 7, True)
    cache.observe(Applied(move("shipped"), APPLIED, stored(8, "shipped")))
    assert seen(cache) == ("shipped", 8, False)


def test_a_change_without_a_base_stands_on_whatever_comes():
    """A change that applies to whatever is there stays on top when others move the entity."""
    cache = ContextCache()
    cache.put([stored(7)])
    cache.push(move())
    cache.observe(Applied(move("shipped"), APPLIED, stored(8, "shipped")))
    assert seen(cache) == ("paid", 8, True)


def test_the_store_confirms_an_own_change():
    """Once it is stored it is known with its revision, as the store's."""
    for status in (APPLIED, DUPLICATE):
        cache = ContextCache()
        cache.put([stored(7)])
        change = move(base_revision=7)
        cache.push(change)
        assert not cache.settle(change, AppendResult(status, 8))
        assert seen(cache) == ("paid", 8, False)
        assert cache.known(REF).trust is Trust.STORE


def test_a_late_change_is_withdrawn():
    """A change that lost is taken back, and the store's truth is asked for."""
    cache = ContextCache()
    cache.put([stored(7)])
    change = move(base_revision=7)
    cache.push(change)
    assert cache.settle(change, AppendResult(LATE, 9))
    assert seen(cache) == ("created", 7, False)
    cache.put([stored(9, "shipped")])
    assert seen(cache) == ("shipped", 9, False)


def test_a_dropped_change_is_withdrawn():
    """A change that never reaches the store is no longer known; without anything stored the entity is unknown again."""
    cache = ContextCache()
    change = move()
    cache.push(change)
    cache.withdraw(change)
    assert cache.known(REF) is None
    assert len(cache) == 0


def test_own_changes_stand_on_each_other():
    """Several unstored changes are seen in order, and stay so while the store confirms them one by one."""
    cache = ContextCache()
    cache.put([stored(7)])
    first, second = (
        move("paid", base_revision=7, from_state="created"),
        move("shipped", base_revision=7, from_state="paid"),
    )
    cache.push(first)
    cache.push(second)
    assert seen(cache) == ("shipped", 7, True)
    assert cache.based((first,)) == (first,)
    cache.settle(first, AppendResult(APPLIED, 8))
    assert seen(cache) == ("shipped", 8, True)
    assert cache.based((second,)) == (replace(second, base_revision=8),)
    cache.settle(second, AppendResult(APPLIED, 9))
    assert seen(cache) == ("shipped", 9, False)


def test_a_change_made_on_an_own_one_is_sent_on_its_revision_however_late():
    """A long method that began on 7+ commits on the revision that 7+ became, unless another change came between."""
    cache = ContextCache()
    cache.put([stored(7)])
    first = move("paid", base_revision=7)
    cache.push(first)
    cache.settle(first, AppendResult(APPLIED, 8))
    slow = move("shipped", base_revision=7, from_state="paid")
    assert cache.based((slow,))[0].base_revision == 8
    rival = move("failed", base_revision=7, from_state="created")
    assert cache.based((rival,))[0].base_revision == 7


def test_a_rival_of_an_own_change_is_not_lifted():
    """A change that saw the state before an own change keeps its base, so the store refuses it."""
    cache = ContextCache()
    cache.put([stored(7)])
    first = move("paid", base_revision=7, from_state="created")
    cache.push(first)
    cache.settle(first, AppendResult(APPLIED, 8))
    cache.push(move("failed", base_revision=7, from_state="created"))
    assert seen(cache) == ("paid", 8, False)


def test_an_atomic_batch_that_moves_an_entity_twice_names_both_revisions():
    """Within a batch the second change of an entity stands on the first."""
    cache = ContextCache()
    batch = (move("paid", base_revision=7, batch_id="1"), move("shipped", base_revision=7, batch_id="1"))
    assert [t.base_revision for t in cache.based(batch)] == [7, 8]
    free = (move("paid", batch_id="1"), move("shipped", base_revision=7, batch_id="1"))
    assert [t.base_revision for t in cache.based(free)] == [None, None]


def test_the_watch_may_be_faster_than_the_answer():
    """An own change seen in the watch before the store's answer is confirmed by it, and those on top stay."""
    cache = ContextCache()
    cache.put([stored(7)])
    first, second = move("paid", base_revision=7), move("shipped", base_revision=7, from_state="paid")
    cache.push(first)
    cache.push(second)
    cache.observe(Applied(first, APPLIED, stored(8, "paid")))
    assert seen(cache) == ("shipped", 8, True)
    assert not cache.settle(first, AppendResult(APPLIED, 8))
    assert seen(cache) == ("shipped", 8, True)


def test_a_late_event_of_another_process_changes_nothing():
    """What the watch tells of late and aborted transitions, and of older revisions, is not applied."""
    cache = ContextCache()
    cache.put([stored(7)])
    for entry in (Applied(move(), LATE, stored(9, "x")), Applied(move(), LOGGED, stored(9, "x"))):
        cache.observe(entry)
    cache.observe(Applied(move("old"), APPLIED, stored(6, "old")))
    cache.put([stored(5, "older")])
    assert seen(cache) == ("created", 7, False)


def test_only_entities_that_are_held_are_watched():
    """A change of an entity that nobody here asked for is not kept."""
    cache = ContextCache()
    cache.observe(Applied(move(), APPLIED, stored(8)))
    assert len(cache) == 0


def test_attributes_that_are_not_known_whole_are_asked_for():
    """An own change of an entity that this process never saw asks for the store's context; a new entity's does not."""
    cache = ContextCache()
    change = move(attributes={"amount": 5})
    cache.push(change)
    assert cache.settle(change, AppendResult(APPLIED, 4))
    cache.put([stored(4, "paid", amount=5, region="eu")])
    assert cache.known(REF).attributes == {"amount": 5, "region": "eu"}
    fresh = Transition("order", "new", "created", "e")
    cache.push(fresh)
    assert not cache.settle(fresh, AppendResult(APPLIED, 1))


def test_aborted_and_nameless_changes_are_not_known():
    """An aborted call and one that names no entity leave the cache alone."""
    cache = ContextCache()
    cache.push(move(outcome=Outcome.ABORTED))
    cache.push(replace(move(), entity_id=""))
    assert len(cache) == 0


def test_forgetting_drops_what_is_stored():
    """A forgotten entity is unknown; an own change that is on its way stays."""
    cache = ContextCache()
    cache.put([stored(7)])
    cache.forget(REF)
    assert cache.known(REF) is None
    cache.put([stored(7)])
    cache.push(move())
    cache.clear()
    assert seen(cache) == ("paid", 0, True)


def test_the_least_recently_used_goes_first():
    """The cache holds ``size`` entities; what was looked at lately stays, and so does what is not stored yet."""
    cache = ContextCache(size=3)
    cache.push(move())
    contexts = [replace(stored(1), entity_id=f"c-{number}") for number in range(4)]
    cache.put(contexts[:2])
    assert cache.known(contexts[0].ref)
    cache.put(contexts[2:3])
    assert cache.known(contexts[1].ref) is None
    assert cache.known(contexts[0].ref)
    cache.put(contexts[3:])
    assert seen(cache) == ("paid", 0, True)
    assert len(cache) == 3


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("own"), st.sampled_from(["known", "none"])),
        st.tuples(st.just("other"), st.just("")),
        st.tuples(st.just("settle"), st.just("")),
        st.tuples(st.just("watch"), st.just("")),
    ),
    max_size=30,
)


@given(STEPS)
def test_however_answers_interleave_the_truth_is_known_in_the_end(steps):
    """Own changes, others' changes, answers and the watch in any order: at rest the cache is right."""
    cache, truth, pending, log, serial = ContextCache(), stored(1, "s0"), [], [], 0
    cache.put([truth])
    told = 0
    for step, detail in [*steps, *[("settle", "")] * 30, ("watch", "")]:
        if step == "own":
            serial += 1
            known = cache.known(REF)
            base = known.revision if detail == "known" else None
            change = move(
                f"s{serial}", from_state=known.state, base_revision=base, attributes={f"a{serial % 3}": serial}
            )
            cache.push(change)
            pending.append(change)
            assert cache.known(REF).state == f"s{serial}"
        elif step == "other" or (step == "settle" and pending):
            serial += 1
            change = pending.pop(0) if step == "settle" else move(f"s{serial}", attributes={f"a{serial % 3}": serial})
            (sent,) = cache.based((change,)) if step == "settle" else (change,)
            if sent.base_revision in (None, truth.revision):
                truth = stored(truth.revision + 1, sent.to_state, **{**truth.attributes, **sent.attributes})
                log.append(Applied(sent, APPLIED, truth))
                result = AppendResult(APPLIED, truth.revision)
            else:
                result = AppendResult(LATE, truth.revision)
            if step == "settle" and cache.settle(change, result):
                cache.put([truth])
        elif step == "watch":
            for entry in log[told:]:
                cache.observe(entry)
            told = len(log)
    known = cache.known(REF)
    assert (known.state, known.rank, dict(known.attributes)) == (truth.state, truth.rank, dict(truth.attributes))
