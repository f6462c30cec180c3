"""Streamed bodies: each of their steps runs with the record of their request, and their end counts the request out."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from mcp_sdk import current

__all__ = ["AsyncStream", "Stream"]


class Stream:
    """A body, each of whose steps is called by ``run``, as is its own ``close``; ``finish`` is called once after that.

    ``run(function, *args)`` calls a function in the request's context.
    """

    def __init__(self, body: Iterable[Any], run: Callable[..., Any], finish: Callable[[], None]) -> None:
        self._body = body
        self._run = run
        self._finish: Callable[[], None] | None = finish
        self._steps: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._steps is None:
            self._steps = self._run(iter, self._body)
        return self._run(next, self._steps)

    def close(self) -> None:
        """Close the body, where it can be closed, and count the request out."""
        finish, self._finish = self._finish, None
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                self._run(close)
        finally:
            if finish is not None:
                finish()


class AsyncStream:
    """An asynchronous body, each of whose steps runs with ``work``; ``close`` calls ``finish`` once, as it is sent."""

    def __init__(self, body: AsyncIterable[Any], work: current.Record, finish: Callable[[], None]) -> None:
        self._body = body
        self._work = work
        self._finish: Callable[[], None] | None = finish
        self._steps: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        outer = current.activate(self._work)
        try:
            if self._steps is None:
                self._steps = aiter(self._body)
            return await anext(self._steps)
        finally:
            current.activate(outer)

    def close(self) -> None:
        """Count the request out."""
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()
