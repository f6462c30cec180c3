"""Which event ids were seen in the last day, and what became of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from mcp_sdk.ports import AppendResult, AppendStatus
from mcp_sdk.stores.ledger import EventKey

__all__ = ["DAY", "Events"]

DAY = 86_400.0
_STATUSES = tuple(AppendStatus)
_NUMBERS = {status: number for number, status in enumerate(_STATUSES)}


class Events:
    """Answers by event, for a day of the log's own clock. One answer is held as one number, for there are many."""

    def __init__(self) -> None:
        self._answers: dict[EventKey, int] = {}
        self._days: deque[tuple[float, list[EventKey]]] = deque()

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, key: object) -> bool:
        return key in self._answers

    def among(self, keys: Iterable[EventKey]) -> dict[EventKey, AppendResult]:
        """Give the answers to those events that came before."""
        answers = self._answers
        return {key: _result(answers[key]) for key in keys if key in answers}

    def add(self, at: float, answers: Iterable[tuple[EventKey, AppendStatus, int]]) -> None:
        """Remember answers that were given at a moment, and forget those older than a day."""
        keys = []
        for key, status, revision in answers:
            keys.append(key)
            self._answers[key] = revision * len(_STATUSES) + _NUMBERS[status]
        if keys:
            self._days.append((at, keys))
        while self._days and self._days[0][0] < at - DAY:
            for key in self._days.popleft()[1]:
                self._answers.pop(key, None)

    def all(self) -> Iterator[tuple[float, list[tuple[EventKey, int]]]]:
        """Give everything, oldest first, as numbers."""
        for at, keys in list(self._days):
            yield at, [(key, self._answers[key]) for key in keys if key in self._answers]

    def restore(self, at: float, answers: Iterable[tuple[EventKey, int]]) -> None:
        """Take in what ``all`` gave."""
        kept = dict(answers)
        self._answers.update(kept)
        self._days.append((at, list(kept)))


def _result(number: int) -> AppendResult:
    revision, status = divmod(number, len(_STATUSES))
    return AppendResult(_STATUSES[status], revision)
