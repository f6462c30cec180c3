"""What waits for which transaction."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context

from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk import current
from mcp_sdk.deferral import Begun, Deferred, hook, unanimous


class Session:
    """A database session, open or not."""

    def __init__(self) -> None:
        self.open = True


def deferred(*inside: str) -> tuple[Deferred, list[tuple[str, bool]]]:
    """Give what waits, one settlement for each word: the savepoints that it is in, a letter each."""
    settled: list[tuple[str, bool]] = []
    waiting = Deferred(deque())
    for word in inside:
        waiting.add(lambda committed, word=word: settled.append((word, committed)), inside=word)  # type: ignore[misc]
    return waiting, settled


def test_a_commit_publishes_and_a_rollback_withdraws_what_was_inside() -> None:
    """A savepoint takes along only what was done inside it, in released ones too; each is settled once."""
    waiting, settled = deferred("t", "ta", "tab", "tc")
    waiting.roll_back("a")
    assert settled == [("ta", False), ("tab", False)]
    waiting.commit()
    waiting.close()
    assert settled[2:] == [("t", True), ("tc", True)]


def test_what_only_read_publishes_however_it_ends() -> None:
    """A close without a commit withdraws what wrote."""
    for wrote in (False, True):
        waiting, settled = deferred("t")
        waiting.wrote = wrote
        waiting.close()
        assert settled == [("t", not wrote)]


def test_what_is_dropped_is_settled_by_others() -> None:
    """Its settlements are left behind, and nothing is called while it is collected."""
    left: deque[Callable[[], None]] = deque()
    settled: list[bool] = []
    waiting = Deferred(left)
    waiting.wrote = True
    waiting.add(settled.append, inside="t")
    del waiting
    assert settled == []
    left.pop()()
    assert settled == [False]


def test_a_hook_that_is_let_go_of_withdraws() -> None:
    """Called it commits; what a library drops instead of calling was rolled back."""
    settled: list[bool] = []
    hook(settled.append)
    assert settled == [False]
    called = hook(settled.append)
    called()
    assert settled == [False, True]


@given(st.lists(st.booleans(), min_size=1))
def test_all_must_commit(votes: list[bool]) -> None:
    """The first answer is the conjunction of all the votes, and a yes comes with the last."""
    settled: list[bool] = []
    vote = unanimous(settled.append, len(votes))
    for committed in votes:
        vote(committed)
    assert settled[0] == all(votes)


def test_the_session_that_began_last_in_this_context_is_the_caller_s() -> None:
    """Of the open ones; what another context began is not."""
    begun: Begun[Session] = Begun(lambda session: session.open)
    first, second, elsewhere = Session(), Session(), Session()
    begun.add(first)
    begun.add(second)
    copy_context().run(begun.add, elsewhere)
    assert begun.last() == [second]
    begun.add(first)
    assert begun.last() == [first]
    first.open = False
    assert begun.last() == [second]
    begun.discard(second)
    assert begun.last() == []


def test_else_it_is_the_one_of_this_request() -> None:
    """A session that a thread of this request began is found by the request."""
    begun: Begun[Session] = Begun(lambda session: session.open)
    mine, other = Session(), Session()
    for session in (mine, other):
        with current.use(current.Record()) as work:
            copy_context().run(begun.add, session)
            if session is mine:
                request = work
    with current.use(request):
        assert begun.last() == [mine]
    assert begun.last() == []


def test_no_session_is_kept_alive() -> None:
    """What is dropped is forgotten."""
    begun: Begun[Session] = Begun(lambda session: session.open)
    begun.add(Session())
    assert begun.last() == []
