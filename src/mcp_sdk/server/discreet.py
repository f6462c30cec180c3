"""A store whose errors may be shown to any caller: where it is, and what is wrong there, is for the server's log.

Drivers name hosts, files and users in their errors, which is what an operator needs and a caller must not learn.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

from mcp_sdk.exceptions import RevisionConflict, StoreError, StoreUnavailable
from mcp_sdk.ports import Store

__all__ = ["discreet"]

logger = logging.getLogger("mcp_sdk.server")
AWAY = "the store does not answer just now. Try again in a while; the server's log says why"
REFUSED = "the store cannot hold this, or cannot read what it holds. The server's log says why"
PAUSE = 10.0
"""Seconds for which an error that says the same is not logged again."""


def discreet(store: Store) -> Store:
    """Give ``store`` with errors that tell callers what to do; the driver's own are logged, and are their cause."""
    return store if isinstance(store, _Discreet) else cast("Store", _Discreet(store))


class _Discreet:
    """Stands for a store: whatever it does raises what may be shown."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._said, self._at = "", 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if inspect.isasyncgenfunction(found):
            found = self._yielding(found)
        elif inspect.iscoroutinefunction(found):
            found = self._awaiting(found)
        else:
            return found
        self.__dict__[name] = found  # once for each method
        return found

    def _awaiting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def call(*args: Any, **named: Any) -> Any:
            try:
                return await method(*args, **named)
            except RevisionConflict:
                raise
            except StoreError as error:
                raise self._shown(error) from error

        return call

    def _yielding(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def call(*args: Any, **named: Any) -> AsyncIterator[Any]:
            try:
                async with aclosing(method(*args, **named)) as each:
                    async for one in each:
                        yield one
            except RevisionConflict:
                raise
            except StoreError as error:
                raise self._shown(error) from error

        return call

    def _shown(self, error: StoreError) -> StoreError:
        self._log(str(error))
        return StoreUnavailable(AWAY) if isinstance(error, StoreUnavailable) else StoreError(REFUSED)

    def _log(self, text: str) -> None:
        now = time.monotonic()
        if text != self._said or now - self._at >= PAUSE:
            self._said, self._at = text, now
            logger.error("the store failed: %s", text)
