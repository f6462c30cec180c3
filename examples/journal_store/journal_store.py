"""A store of one's own: memory that writes every applied transition to a journal, a JSON line each.

It keeps nothing when its process ends; the journal is for people and for what reads it after them. A store that keeps
what it takes overrides more of ``Store`` in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mcp_sdk import Transition
from mcp_sdk.ports import AppendResult, AppendStatus
from mcp_sdk.stores.memory import MemoryStore

__all__ = ["JournalStore", "connect"]


class JournalStore(MemoryStore):
    """Writes to ``path`` what it applied, before it acknowledges it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Apply transitions; see ``Store.append``."""
        results = await super().append(transitions)
        lines = [
            json.dumps(transition.to_dict() | {"revision": result.revision}, ensure_ascii=False)
            for transition, result in zip(transitions, results, strict=True)
            if result.status is AppendStatus.APPLIED
        ]
        if lines:
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as journal:
                journal.write("\n".join(lines) + "\n")
        return results


def connect(url: str, *, poll_interval: float) -> JournalStore:
    """Give the store of ``journal:path``; the entry point of ``mcp_sdk.stores``."""
    del poll_interval
    return JournalStore(Path(url.partition(":")[2]))
