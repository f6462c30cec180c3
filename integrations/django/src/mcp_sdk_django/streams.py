"""Streamed responses keep the record of their request: each of their steps runs with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp_sdk import current

__all__ = ["keep"]


def keep(response: Any, work: current.Record, finish: Callable[[], None]) -> bool:
    """Have a response's stream run with ``work``, and ``finish`` called when it is closed; False where there is none.

    A file that the server sends by itself has no steps to run.
    """
    if not getattr(response, "streaming", False) or getattr(response, "file_to_stream", None) is not None:
        return False
    kind = _AsyncStream if response.is_async else _Stream
    response.streaming_content = kind(response.streaming_content, work, finish)
    return True


class _Kept:
    """What both kinds share. Django calls ``close`` once the response is sent, or was given up."""

    def __init__(self, content: Any, work: current.Record, finish: Callable[[], None]) -> None:
        self._content = content
        self._work = work
        self._finish: Callable[[], None] | None = finish

    def close(self) -> None:
        """Count the request out."""
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()


class _Stream(_Kept):
    def __iter__(self) -> _Stream:
        self._content = iter(self._content)
        return self

    def __next__(self) -> Any:
        outer = current.activate(self._work)
        try:
            return next(self._content)
        finally:
            current.activate(outer)


class _AsyncStream(_Kept):
    def __aiter__(self) -> _AsyncStream:
        self._content = aiter(self._content)
        return self

    async def __anext__(self) -> Any:
        outer = current.activate(self._work)
        try:
            return await anext(self._content)
        finally:
            current.activate(outer)
