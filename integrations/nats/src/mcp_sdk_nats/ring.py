"""The last messages of the log, kept so that a watcher who keeps up reads nothing twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mcp_sdk_nats.messages import Batch, Message, Note, key_of

__all__ = ["ENTRIES", "Ring"]

ENTRIES = 20_000


class Ring:
    """Messages without gaps up to the newest, ``size`` transitions at most. Everything after ``floor`` is here."""

    def __init__(self, floor: int, size: int = ENTRIES) -> None:
        self.floor = floor
        self._most = size
        self._messages: deque[Message | None] = deque()
        self._size = 0

    def add(self, message: Message | None) -> None:
        """Take the next message in, and let the oldest go."""
        self._messages.append(message)
        self._size += _size(message)
        while self._size > self._most and len(self._messages) > 1:
            self._size -= _size(self._messages.popleft())
            self.floor += 1

    def get(self, sequence: int) -> Message | None:
        """Give a message that is here."""
        return self._messages[sequence - self.floor - 1]

    def holds(self, sequence: int) -> bool:
        """Tell whether a message is here."""
        return 0 < sequence - self.floor <= len(self._messages)

    def after(self, sequence: int, count: int) -> Iterator[tuple[int, Message | None]]:
        """Give up to ``count`` messages after a sequence that is not before ``floor``."""
        end = min(sequence + count, self.floor + len(self._messages))
        return iter([(number, self.get(number)) for number in range(sequence + 1, end + 1)])

    def erase(self, note: Note) -> None:
        """Let go of what a note says is forgotten."""
        for model, entity_id, _, _, sequences, _ in note.content["entities"]:
            key = (*note.scope, model, entity_id)
            for sequence in sequences:
                message = self.get(sequence) if self.holds(sequence) else None
                if isinstance(message, Batch):
                    kept = (None if entry and key_of(entry) == key else entry for entry in message.entries)
                    message.entries[:] = kept


def _size(message: Message | None) -> int:
    return len(message.entries) if isinstance(message, Batch) else 1
