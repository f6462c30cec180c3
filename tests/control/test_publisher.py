"""The background publisher, over a sink that stands where a store or a server would."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_sdk.context import Transition
from mcp_sdk.control.loop import LoopThread
from mcp_sdk.control.publisher import Backoff, Hooks, Publisher, PublisherOptions
from mcp_sdk.exceptions import StoreDenied, StoreError, StoreUnavailable
from mcp_sdk.ports import AppendResult, AppendStatus


class Sink:
    """Takes batches as a store does; may be away, refuse some, or hold back."""

    def __init__(self) -> None:
        self.batches: list[list[Transition]] = []
        self.away = False
        self.refused: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.attempts = 0
        self.revision: Counter[str] = Counter()

    async def send(self, batch: Sequence[Transition]) -> list[AppendResult]:
        self.attempts += 1
        while not self.gate.is_set():  # noqa: ASYNC110 - opened by another thread
            await asyncio.sleep(0.001)
        if self.away:
            raise StoreUnavailable("away")
        if any(sent.event_id in self.refused for sent in batch):
            raise StoreError("cannot hold this")
        self.batches.append(list(batch))
        return [self.result(sent) for sent in batch]

    def result(self, sent: Transition) -> AppendResult:
        self.revision[sent.entity_id] += 1
        return AppendResult(AppendStatus.APPLIED, self.revision[sent.entity_id])

    @property
    def sent(self) -> list[Transition]:
        return [transition for batch in self.batches for transition in batch]


class Bench:
    """A publisher with its sink, and what it told."""

    def __init__(self, **options: float) -> None:
        self.sink, self.loop = Sink(), LoopThread("test")
        self.settled: list[tuple[str, int]] = []
        self.drops: Counter[str] = Counter()
        hooks = Hooks(self.settle, lambda lost, reason: self.drops.update({reason: len(lost)}))
        options = {"linger": 0.001} | options
        self.publisher = Publisher(self.sink.send, hooks, loop=self.loop, options=PublisherOptions(**options))

    def settle(self, transition: Transition, result: AppendResult) -> None:
        self.settled.append((transition.event_id, result.revision))

    def end(self) -> None:
        self.publisher.close(5)
        assert self.loop.stop(5)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.end()


def move(entity_id: str = "o-1", **fields: object) -> Transition:
    fields.setdefault("event_id", uuid.uuid4().hex)
    return Transition("order", entity_id, "created", **fields)


def test_nothing_runs_before_the_first_publish(bench):
    """Making a publisher starts no thread and no loop."""
    assert not bench.loop.running
    bench.publisher.publish([move()])
    assert bench.loop.running


def test_what_is_published_is_sent_and_settled(bench):
    """A flush waits until all is stored, and every transition is told with its result."""
    sent = [move(f"o-{number}") for number in range(1200)]
    for transition in sent:
        assert bench.publisher.publish([transition])
    assert bench.publisher.flush(10)
    assert bench.sink.sent == sent
    assert [event for event, _ in bench.settled] == [transition.event_id for transition in sent]
    assert bench.publisher.size == 0


def test_batches_keep_their_size():
    """No batch is larger than ``batch_size``, and a full queue fills them."""
    bench = Bench(batch_size=10)
    bench.sink.gate.clear()
    for number in range(95):
        bench.publisher.publish([move(f"o-{number}")])
    bench.sink.gate.set()
    assert bench.publisher.flush(10)
    sizes = [len(batch) for batch in bench.sink.batches]
    assert max(sizes) == 10
    assert sum(sizes) == 95
    bench.end()


def test_an_atomic_batch_is_sent_whole():
    """Transitions of one ``batch_id`` are never split, even where they are more than a batch takes."""
    bench = Bench(batch_size=4)
    bench.publisher.publish([move(f"a-{n}", batch_id="1") for n in range(3)])
    bench.publisher.publish([move(f"b-{n}", batch_id="2") for n in range(7)])
    assert bench.publisher.flush(10)
    for batch_id in ("1", "2"):
        assert len([batch for batch in bench.sink.batches if any(t.batch_id == batch_id for t in batch)]) == 1
    bench.end()


def test_changes_on_a_revision_wait_for_those_before_them(bench):
    """Two changes of one entity that name a revision are never in one call; others go past them."""
    bench.sink.gate.clear()
    moves = [move("a", base_revision=0), move("a", base_revision=0), move("b", base_revision=0), move("a")]
    for transition in moves:
        bench.publisher.publish([transition])
    bench.sink.gate.set()
    assert bench.publisher.flush(10)
    for batch in bench.sink.batches:
        assert sum(t.entity_id == "a" and t.base_revision is not None for t in batch) <= 1
    assert [t for t in bench.sink.sent if t.entity_id == "a"] == [moves[0], moves[1], moves[3]]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([None, 0, 1]), st.sampled_from(["", "1", "2"])), max_size=40
    )
)
def test_each_entity_keeps_its_order(drawn):
    """Whatever is published, each entity's transitions arrive in the order they were published in, each once."""
    bench = Bench(batch_size=5)
    moves = [move(entity, base_revision=base, batch_id=batch) for entity, base, batch in drawn]
    for start in range(0, len(moves), 3):
        bench.publisher.publish(moves[start : start + 3])
    assert bench.publisher.flush(10)
    assert len(bench.sink.sent) == len(moves)
    for entity in "abc":
        ours = [t.event_id for t in moves if t.entity_id == entity]
        assert [t.event_id for t in bench.sink.sent if t.entity_id == entity] == ours
    bench.end()


def test_an_outage_is_absorbed(bench):
    """While the store is away the queue holds what is published, and all of it is sent, in order, once it is back."""
    bench.sink.away = True
    sent = [move(f"o-{number}") for number in range(50)]
    for transition in sent:
        assert bench.publisher.publish([transition])
    assert not bench.publisher.flush(0.1)
    assert bench.sink.attempts > 0
    bench.sink.away = False
    assert bench.publisher.flush(10)
    assert bench.sink.sent == sent
    assert not bench.drops


def test_a_full_queue_drops_the_newest_and_counts():
    """What does not fit is refused at once and counted; a call's transitions are taken all or none."""
    bench = Bench(queue_size=10)
    bench.sink.gate.clear()
    taken = [bench.publisher.publish([move()]) for _ in range(8)]
    assert all(taken)
    assert not bench.publisher.publish([move(), move(), move()])
    assert bench.publisher.publish([move(), move()])
    assert not bench.publisher.publish([move()])
    assert bench.drops == {"queue_full": 4}
    bench.sink.gate.set()
    bench.end()
    assert len(bench.sink.sent) == 10


def test_one_refused_transition_does_not_take_others_along(bench):
    """What the store cannot hold is dropped and counted; all around it is stored, and an atomic batch goes whole."""
    moves = [move(f"o-{number}") for number in range(30)]
    batch = [move("x", batch_id="1"), move("y", batch_id="1")]
    bench.sink.refused = {moves[13].event_id, batch[1].event_id}
    bench.sink.gate.clear()
    for transition in moves:
        bench.publisher.publish([transition])
    bench.publisher.publish(batch)
    bench.sink.gate.set()
    assert bench.publisher.flush(10)
    assert {t.event_id for t in bench.sink.sent} == {t.event_id for t in moves} - bench.sink.refused
    assert bench.drops == {"store_refused": 3}


def test_closing_sends_what_is_queued(bench):
    """Closing flushes, and what is published afterwards is dropped and counted."""
    for number in range(20):
        bench.publisher.publish([move(f"o-{number}")])
    assert bench.publisher.close(5)
    assert len(bench.sink.sent) == 20
    assert not bench.publisher.publish([move()])
    assert bench.drops == {"shutdown": 1}


def test_closing_keeps_its_deadline():
    """When the store stays away, closing gives up in time and counts all that is lost, what was on its way included."""
    bench = Bench(batch_size=5)
    bench.sink.away = True
    for number in range(20):
        bench.publisher.publish([move(f"o-{number}")])
    assert not bench.publisher.close(0.2)
    assert bench.drops == {"shutdown": 20}
    assert bench.publisher.size == 0
    assert bench.loop.stop(5)


def test_a_failing_hook_does_not_stop_the_publisher(bench):
    """What goes wrong after one transition was stored is logged, and the next ones are sent."""
    failing = iter([True, False])

    def settle(transition: Transition, result: AppendResult) -> None:
        if next(failing):
            raise RuntimeError("boom")
        bench.settle(transition, result)

    bench.publisher._hooks = replace(bench.publisher._hooks, settled=settle)
    for number in range(2):
        bench.publisher.publish([move(f"o-{number}")])
        assert bench.publisher.flush(5)
    assert len(bench.settled) == 1


def test_many_threads_publish_at_once(bench):
    """Nothing is lost or doubled when several threads publish, and each thread's order is kept."""

    def work(name: str) -> None:
        for number in range(300):
            bench.publisher.publish([move(name, event_id=f"{name}-{number}")])

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.publisher.flush(10)
    for name in "abcd":
        assert [t.event_id for t in bench.sink.sent if t.entity_id == name] == [f"{name}-{n}" for n in range(300)]


def test_delays_grow_with_jitter_to_a_bound():
    """Delays double up to a bound, spread over half of it, and begin anew after a success."""
    backoff = Backoff(0.1, 0.4)
    delays = [backoff.delay() for _ in range(6)]
    for delay, bound in zip(delays, [0.1, 0.2, 0.4, 0.4, 0.4, 0.4], strict=True):
        assert bound / 2 <= delay <= bound
    backoff.reset()
    assert backoff.delay() <= 0.1


def test_who_is_kept_out_waits_and_says_so_once(bench, caplog):
    """A store that lets nobody append loses nothing; one warning says what to mend, again at the next time."""
    caplog.set_level(logging.INFO, "mcp_sdk")

    async def closed(batch: Sequence[Transition]) -> list[AppendResult]:
        if bench.sink.away:
            bench.sink.attempts += 1
            raise StoreDenied("renew the token")
        return [bench.sink.result(sent) for sent in batch]

    bench.publisher._send = closed
    for _ in range(2):
        bench.sink.away, bench.sink.attempts = True, 0
        bench.publisher.publish([move()])
        while bench.sink.attempts < 3:
            time.sleep(0.005)
        bench.sink.away = False
        assert bench.publisher.flush(10)
    levels = [record.levelno for record in caplog.records if "renew the token" in record.message]
    assert levels.count(logging.WARNING) == 2
    assert not bench.drops
