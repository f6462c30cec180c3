"""What one process knows of entities, and what it says of them: the cache, the publisher, and look-ups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from mcp_sdk.context import Transition
from mcp_sdk.control.cache import ContextCache
from mcp_sdk.control.fetcher import Fetcher, Lookup
from mcp_sdk.control.loop import LoopThread
from mcp_sdk.control.plane import Shared
from mcp_sdk.control.publisher import Hooks, Publisher, PublisherOptions
from mcp_sdk.ports import AppendResult

__all__ = ["Append", "Known"]

Append = Callable[[Sequence[Transition]], Awaitable[Sequence[AppendResult]]]


class Known:
    """Puts the process's own transitions on top of the cache until they are stored, and takes them back if they fail.

    ``append`` stores transitions and ``lookup`` gives stored contexts, both on ``loop``. Only what is of the process's
    own scope is cached. ``everything`` tells whether the process hears of every change, and needs no look-ups.
    """

    def __init__(self, shared: Shared, loop: LoopThread, append: Append, lookup: Lookup, *, everything: bool) -> None:
        config = shared.config
        self._shared, self._scope = shared, shared.identity.scope
        self.cache: ContextCache = ContextCache(everything=everything)
        self.fetcher: Fetcher = Fetcher(lookup)
        self.publisher: Publisher = Publisher(
            append,
            Hooks(self._settled, self._dropped, self.cache.based),
            loop=loop,
            options=PublisherOptions(config.queue_size, config.batch_size, config.linger),
        )

    def publish(self, transitions: Sequence[Transition]) -> None:
        """Put transitions on top of the cache, and queue them."""
        for transition in transitions:
            if (transition.namespace, transition.environment) == self._scope:
                self.cache.push(transition)
        self.publisher.publish(transitions)

    def _settled(self, transition: Transition, result: AppendResult) -> None:
        self._shared.telemetry.transition(transition, result.status.value, since=result.since)
        if transition.scope == self._scope and self.cache.settle(transition, result):
            self.fetcher.refresh(transition.ref)

    def _dropped(self, transitions: Sequence[Transition], reason: str) -> None:
        self._shared.telemetry.dropped("publisher", reason, len(transitions))
        for transition in transitions:
            if transition.scope == self._scope:
                self.cache.withdraw(transition)
