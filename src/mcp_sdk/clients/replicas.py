"""The replicas of one control plane: which is asked now, and which next when it does not answer."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from mcp_sdk.clients import api
from mcp_sdk.config import Config
from mcp_sdk.exceptions import ConfigurationError, StoreUnanswered, StoreUnavailable

if TYPE_CHECKING:
    import httpx

__all__ = ["Replicas"]

T = TypeVar("T")


class Replicas:
    """Asks one replica until it fails, then the next. Clients begin at different ones. Used on one loop.

    A call that failed is made again on each other replica, once: every mutation carries an event id or the revision
    that it replaces, so that doing it twice does no harm. Only one that has ``patience`` is not where it may have been
    done: the second answer would be that somebody else came first. Raises ``ConfigurationError`` without an address.
    """

    def __init__(self, urls: Sequence[str], config: Config) -> None:
        if not urls:
            raise ConfigurationError("a control plane over HTTP needs an address: https://mesh.internal")
        self._urls = tuple(urls)
        self._config = config
        self._at = secrets.randbelow(len(self._urls))
        self._clients: dict[str, httpx.AsyncClient] = {}

    @property
    def url(self) -> str:
        """The address of the replica that is asked now."""
        return self._urls[self._at]

    def turn(self) -> None:
        """Ask the next one from now on."""
        self._at = (self._at + 1) % len(self._urls)

    async def ask(self, call: api.Call[T]) -> T:
        """Make a call; raises ``StoreUnavailable`` when no replica answers, and what ``api.asend`` does."""
        for _ in self._urls[1:]:
            asked = self._at
            try:
                return await api.asend(self._client(), call)
            except StoreUnavailable as error:
                if self._at == asked:
                    self.turn()
                if isinstance(error, StoreUnanswered):
                    raise
        return await api.asend(self._client(), call)

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _client(self) -> httpx.AsyncClient:
        if self.url not in self._clients:
            self._clients[self.url] = api.async_client(self.url, self._config)
        return self._clients[self.url]
