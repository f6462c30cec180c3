"""The cache of contexts: read-your-writes, and the newest that is known of others."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcp_sdk.context import EntityRef, ModelContext, Outcome, Transition, Trust
from mcp_sdk.control.cache import ContextCache, Flight
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.ports import AppendResult, AppendStatus, Applied

REF = EntityRef("order", "o-1")
APPLIED, DUPLICATE, LATE, LOGGED = AppendStatus.APPLIED, AppendStatus.DUPLICATE, AppendStatus.LATE, AppendStatus.LOGGED


def stored(revision: int, state: str = "created", **attributes: object) -> ModelContext:
    return ModelContext("order", "o-1", state, attributes, revision, trust=Trust.STORE)


def move(state: str | None = "paid", **fields: object) -> Transition:
    return Transition("order", "o-1", state, uuid.uuid4().hex, **fields)


def put(cache: ContextCache, contexts: Sequence[ModelContext]) -> None:
    """Look contexts up."""
    with cache.flight([context.ref for context in contexts]) as flight:
        flight.land({context.ref: context for context in contexts})


def seen(cache: ContextCache) -> tuple[str | None, int, bool] | None:
    known = cache.known(REF)
    return known and (known.state, known.revision, known.tentative)


def test_an_own_change_is_known_at_once():
    """A change that is not stored yet stands on top of what is stored, marked tentative and of this process."""
    cache = ContextCache()
    put(cache, [stored(7, amount=1, region="eu")])
    cache.push(move(base_revision=7, attributes={"amount": 2}))
    known = cache.known(REF)
    assert (known.state, known.rank, known.trust) == ("paid", (7, True), Trust.LOCAL)
    assert known.attributes == {"amount": 2, "region": "eu"}


def test_seven_plus_beats_a_stored_seven_and_eight_beats_it():
    """7+ stands over a stored 7 that arrives later, and gives way to an 8 of another process."""
    cache = ContextCache()
    cache.push(move(base_revision=7))
    put(cache, [stored(7)])
    assert seen(cache) == ("paid", 7, True)
    cache.observe(Applied(move("shipped"), APPLIED, stored(8, "shipped")))
    assert seen(cache) == ("shipped", 8, False)


def test_a_change_without_a_base_stands_on_whatever_comes():
    """A change that applies to whatever is there stays on top when others move the entity."""
    cache = ContextCache()
    put(cache, [stored(7)])
    cache.push(move())
    cache.observe(Applied(move("shipped"), APPLIED, stored(8, "shipped")))
    assert seen(cache) == ("paid", 8, True)


def test_the_store_confirms_an_own_change():
    """Once it is stored it is known with its revision, as the store's."""
    for status in (APPLIED, DUPLICATE):
        cache = ContextCache()
        put(cache, [stored(7)])
        change = move(base_revision=7)
        cache.push(change)
        assert not cache.settle(change, AppendResult(status, 8))
        assert seen(cache) == ("paid", 8, False)
        assert cache.known(REF).trust is Trust.STORE


def test_a_late_change_is_withdrawn():
    """A change that lost is taken back, and the store's truth is asked for."""
    cache = ContextCache()
    put(cache, [stored(7)])
    change = move(base_revision=7)
    cache.push(change)
    assert cache.settle(change, AppendResult(LATE, 9))
    assert seen(cache) == ("created", 7, False)
    put(cache, [stored(9, "shipped")])
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
    put(cache, [stored(7)])
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
    put(cache, [stored(7)])
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
    put(cache, [stored(7)])
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
    put(cache, [stored(7)])
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
    put(cache, [stored(7)])
    for entry in (Applied(move(), LATE, stored(9, "x")), Applied(move(), LOGGED, stored(9, "x"))):
        cache.observe(entry)
    cache.observe(Applied(move("old"), APPLIED, stored(6, "old")))
    put(cache, [stored(5, "older")])
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
    put(cache, [stored(4, "paid", amount=5, region="eu")])
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
    put(cache, [stored(7)])
    cache.forget(REF)
    assert cache.known(REF) is None
    put(cache, [stored(7)])
    cache.push(move())
    cache.clear()
    assert seen(cache) == ("paid", 0, True)


def test_the_least_recently_used_goes_first():
    """The cache holds ``size`` entities; what was looked at lately stays, and so does what is not stored yet."""
    cache = ContextCache(size=3)
    cache.push(move())
    contexts = [replace(stored(1), entity_id=f"c-{number}") for number in range(4)]
    put(cache, contexts[:2])
    assert cache.known(contexts[0].ref)
    put(cache, contexts[2:3])
    assert cache.known(contexts[1].ref) is None
    assert cache.known(contexts[0].ref)
    put(cache, contexts[3:])
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
    put(cache, [truth])
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
                put(cache, [truth])
        elif step == "watch":
            for entry in log[told:]:
                cache.observe(entry)
            told = len(log)
    known = cache.known(REF)
    assert (known.state, known.rank, dict(known.attributes)) == (truth.state, truth.rank, dict(truth.attributes))


def partly() -> ContextCache:
    """Give a cache that is told only of entities that were looked up, while somebody tells."""
    cache = ContextCache(everything=False)
    cache.adrift = False
    return cache


def test_what_nobody_watches_is_no_ground_for_decisions():
    """An own change that was stored is remembered for the next one, and given again once it was looked up."""
    cache = partly()
    fresh = move("created")
    cache.push(fresh)
    assert seen(cache) == ("created", 0, True)
    assert not cache.settle(fresh, AppendResult(APPLIED, 1))
    assert cache.known(REF) is None
    assert cache.last_known(REF).revision == 1
    put(cache, [stored(2, "paid")])
    assert seen(cache) == ("paid", 2, False)
    cache.observe(Applied(move(), APPLIED, stored(3, "shipped")))
    assert seen(cache) == ("shipped", 3, False)


def test_what_is_only_published_is_not_looked_up():
    """Whoever publishes ten thousand changes a second asks for nothing by it, but where one came too late."""
    cache = partly()
    one, other = move(), move("shipped", base_revision=4)
    for change in (one, other):
        cache.push(change)
    assert not cache.settle(one, AppendResult(APPLIED, 4))
    assert cache.settle(other, AppendResult(LATE, 9))
    assert cache.last_known(REF) is None


def test_what_is_held_no_longer_is_not_given():
    """An entity that the server tells of no longer is looked up for the next decision, and remembered for changes."""
    cache = partly()
    put(cache, [stored(7)])
    cache.release(REF)
    assert cache.known(REF) is None
    assert cache.last_known(REF).revision == 7


def test_while_nobody_tells_what_was_known_last_goes_on():
    """With the server away, an own change that was stored is what decisions go by."""
    cache = partly()
    change = move()
    cache.push(change)
    cache.settle(change, AppendResult(APPLIED, 1))
    cache.adrift = True
    assert seen(cache) == ("paid", 1, False)


def test_what_was_erased_and_made_anew_unheard_is_not_believed():
    """A revision that went back without word of it ends what was remembered; the next look-up finds the truth."""
    cache = partly()
    change = move()
    cache.push(change)
    cache.settle(change, AppendResult(APPLIED, 7))
    put(cache, [stored(1, "created")])
    assert cache.last_known(REF) is None
    put(cache, [stored(1, "created")])
    assert seen(cache) == ("created", 1, False)
    with cache.flight([REF]) as flight:
        flight.land({})
    assert seen(cache) == ("created", 1, False)  # it is watched: whoever erased it is still to be heard
    cache.release(REF)
    with cache.flight([REF]) as flight:
        assert flight.land({}) == {}
    assert cache.last_known(REF) is None


def test_what_is_told_during_a_look_up_is_newer_than_its_answer():
    """A change, and that an entity was erased, count over what was read before them."""
    for cache in (ContextCache(), partly()):
        with cache.flight([REF]) as flight:
            cache.observe(Applied(move(), APPLIED, stored(2, "paid")))
            assert flight.land({REF: stored(1)})[REF].state == "paid"
        assert seen(cache) == ("paid", 2, False)
        cache.clear()
        with cache.flight([REF]) as flight:
            cache.forget(REF)
            assert flight.land({REF: stored(1)}) == {}
        assert (cache.known(REF), len(cache)) == (None, 0)


def test_a_look_up_that_fails_leaves_nothing():
    """What was not found, or not answered, is not kept in mind."""
    cache = partly()
    with suppress(StoreUnavailable), cache.flight([REF, REF]):
        raise StoreUnavailable("away")
    with cache.flight([REF, REF]) as flight:
        assert flight.land({}) == {}
    assert len(cache) == 0


def test_what_is_looked_up_is_not_crowded_out():
    """A look-up of more entities than the cache has room for is answered whole; it is kept as far as there is room."""
    cache = ContextCache(size=3)
    contexts = {context.ref: context for context in (replace(stored(1), entity_id=f"o-{n}") for n in range(6))}
    with cache.flight(contexts) as flight:
        assert flight.land(contexts) == contexts
    put(cache, [stored(1)])
    put(cache, [replace(stored(1), entity_id="another")])
    assert len(cache) <= 3 + 1


class Told:
    """A store, and what it tells one client of one entity: in order, but late; look-ups are answered in that order."""

    def __init__(self, cache: ContextCache, *, everything: bool) -> None:
        self.cache, self.everything = cache, everything
        self.truth: ModelContext | None = None
        self.held = everything
        self.frames: deque[tuple[str, object]] = deque()
        self.flight: Flight | None = None
        self.found: dict[EntityRef, ModelContext] | None = None
        self.asked = False
        self.pending: list[Transition] = []
        self.answers: list[tuple[Transition, AppendResult]] = []
        self.newest = self.serial = 0

    def tell(self, kind: str, said: object = None) -> None:
        if self.held:
            self.frames.append((kind, said))

    def store(self, change: Transition) -> AppendResult:
        revision = self.truth.revision if self.truth is not None else 0
        if change.base_revision not in (None, revision):
            return AppendResult(LATE, revision)
        attributes = {**(self.truth.attributes if self.truth is not None else {}), **change.attributes}
        self.truth = stored(revision + 1, change.to_state, **attributes)
        self.tell("change", Applied(change, APPLIED, self.truth))
        return AppendResult(APPLIED, revision + 1)

    def change(self, **fields: object) -> Transition:
        self.serial += 1
        return move(f"s{self.serial}", attributes={f"a{self.serial % 3}": self.serial}, **fields)

    def own(self) -> None:
        known = self.cache.last_known(REF)
        base = None if known is None or known.tentative or not known.revision else known.revision
        change = self.change(base_revision=base, from_state=known and known.state)
        self.cache.push(change)
        self.pending.append(change)

    def other(self) -> None:
        self.store(self.change())

    def accept(self) -> None:
        if self.pending:
            change = self.pending.pop(0)
            (sent,) = self.cache.based((change,))
            self.answers.append((change, self.store(sent)))

    def settle(self) -> None:
        if self.answers:
            change, result = self.answers.pop(0)
            if self.cache.settle(change, result):
                self.depart()

    def erase(self) -> None:
        if self.truth is not None:
            self.truth = None
            self.tell("forgotten")

    def depart(self) -> None:
        if self.flight is None:
            self.flight, self.asked = self.cache.flight([REF]), True
            self.flight.__enter__()

    def answer(self) -> None:
        if self.asked:
            self.asked, self.held = False, True
            self.frames.append(("contexts", {} if self.truth is None else {REF: self.truth}))

    def drop(self) -> None:
        if self.held and not self.everything:
            self.tell("dropped")
            self.held = False

    def hear(self) -> None:
        if not self.frames:
            return
        kind, said = self.frames.popleft()
        if kind == "change":
            self.cache.observe(said)
            self.newest = said.context.revision
        elif kind == "forgotten":
            self.cache.forget(REF)
            self.newest = 0
        elif kind == "dropped":
            self.cache.release(REF)
        else:
            self.found = said

    def land(self) -> None:
        if self.flight is not None and self.found is not None:
            self.flight.land(self.found)
            self.flight.__exit__(None, None, None)
            self.flight = self.found = None

    def evict(self) -> None:
        for number in range(3):
            put(self.cache, [replace(stored(1), entity_id=f"other-{number}")])

    def resync(self) -> None:
        """Everything that waits, answers too, gives way to one frame."""
        if self.everything:
            return
        self.frames.clear()
        self.cache.clear()
        self.newest = 0
        if self.flight is not None and self.found is None and not self.asked:
            self.flight.__exit__(None, None, None)
            self.flight = None


ALONE = ["own", "other", "accept", "settle", "erase", "depart", "answer", "drop", "hear", "land", "evict", "resync"]
OFTEN = [
    "other depart answer",
    "other own accept erase other depart answer",
    "hear hear",
    "own accept",
    "drop other",
    "depart answer hear",
]
MOVES = st.lists(st.sampled_from(ALONE + OFTEN), max_size=25).map(lambda phrases: " ".join(phrases).split())


@given(MOVES, st.booleans())
@example(["own", "own", "accept", "erase", "depart", "answer", "hear"], False)
@settings(max_examples=600)
def test_however_frames_interleave_nothing_older_is_given_than_was_told(steps, everything):
    """What is given as stored is never older than what was told, and, once all is told, it is the truth or nothing."""
    cache = ContextCache(size=2, everything=everything)
    cache.adrift = False
    told = Told(cache, everything=everything)
    for step in steps:
        getattr(told, step)()
        known = cache.known(REF)
        assert known is None or known.tentative or known.revision >= told.newest
    for _ in range(80):
        for step in ("accept", "settle", "answer", "hear", "land"):
            getattr(told, step)()
    assert [told.pending, told.answers, list(told.frames), told.flight] == [[], [], [], None]
    known, truth = cache.known(REF), told.truth
    if known is not None:
        assert (known.state, known.rank, known.attributes) == (truth.state, truth.rank, truth.attributes)
    for _ in range(2):
        for step in ("depart", "answer", "hear", "land"):
            getattr(told, step)()
    assert seen(cache) == (truth and (truth.state, truth.revision, False))
