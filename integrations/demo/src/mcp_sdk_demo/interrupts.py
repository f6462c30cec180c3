"""Being asked to stop: SIGINT and SIGTERM end the run once, and cannot end the tidying up after it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["Asked", "Interrupted", "stoppable"]


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; ``status`` is the exit status that says by which signal."""

    def __init__(self, signum: int) -> None:
        self.status = 128 + signum
        super().__init__(signal.Signals(signum).name)


class Asked:
    """Whether a block was asked to stop: ``status`` says by which signal, 0 when it was not."""

    status = 0


@contextmanager
def stoppable() -> Iterator[Asked]:
    """Raise ``Interrupted`` in the block at the first signal; further ones are ignored until the block is left.

    Python swallows an exception that is raised inside a finalizer, where a signal may arrive as well: what the block
    is given knows of the signal all the same.
    """
    asked = Asked()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(signum: int, _frame: object) -> NoReturn:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        asked.status = 128 + signum
        raise Interrupted(signum)

    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
