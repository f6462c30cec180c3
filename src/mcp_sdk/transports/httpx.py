"""Transports for httpx: ``http://order-service/...`` goes to an endpoint of the subset that policy decides on.

    client = httpx.AsyncClient(transport=AsyncMeshTransport(mesh))
    await client.get("http://order-service/orders/o-1")

httpx calls a transport once for each hop of a redirect, so each hop's host is looked at anew. The URL's host stays the
``Host`` header, so the service sees the name that it was called by.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

from mcp_sdk.decisions import Refused
from mcp_sdk.enforcement import Consult, Fetch, aperform, perform
from mcp_sdk.exceptions import MissingExtra, NoEndpoint
from mcp_sdk.facts import Query, one_path, operation_of
from mcp_sdk.mesh import Mesh
from mcp_sdk.services import Endpoint
from mcp_sdk.transports._flow import Attempt, Failure, Outbound, Outgoing, Pause, Sent, only_ours
from mcp_sdk.transports.endpoints import Balancer

try:
    import httpx
except ModuleNotFoundError as missing:
    raise MissingExtra("httpx", extra="httpx", purpose="mcp_sdk.transports.httpx") from missing

__all__ = ["AsyncMeshTransport", "CallRefused", "MeshTransport", "ServiceUnreachable"]

EXTENSION = "mcp_sdk"
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout)
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class ServiceUnreachable(NoEndpoint, httpx.ConnectError):
    """``NoEndpoint`` as code that handles ``httpx.ConnectError`` expects it."""

    def __init__(self, error: NoEndpoint, request: httpx.Request) -> None:
        Exception.__init__(self, str(error))
        self._request = request


class CallRefused(Refused, httpx.TransportError):
    """``Refused`` as code that handles ``httpx.TransportError`` expects it."""

    def __init__(self, error: Refused, request: httpx.Request) -> None:
        Exception.__init__(self, str(error))
        self.decision = error.decision
        self._request = request


class MeshTransport(httpx.BaseTransport):
    """Sends the calls of an ``httpx.Client`` through the mesh.

    ``inner`` sends what was decided on, an ``httpx.HTTPTransport`` unless given; ``retries`` bounds further attempts,
    which only idempotent calls get, and calls of which surely nothing was sent. The response's
    ``extensions["mcp_sdk"]`` is a ``Sent``: decision, endpoint, number of attempts. Raises ``ServiceUnreachable`` and
    ``CallRefused`` beside httpx's own errors.
    """

    def __init__(self, mesh: Mesh, *, inner: httpx.BaseTransport | None = None, retries: int = 2) -> None:
        self._outbound = Outbound(mesh, retries=retries)
        self._inner = inner if inner is not None else httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one hop of one call."""
        steps = self._outbound.steps(_outgoing(request))
        try:
            effect = next(steps)
            while True:
                effect = steps.send(self._perform(effect, request))
        except StopIteration as stop:
            return _received(stop.value, self._outbound.balancer)
        except NoEndpoint as error:
            raise ServiceUnreachable(error, request) from error
        except Refused as error:
            raise CallRefused(error, request) from error
        finally:
            steps.close()

    def _perform(self, effect: Fetch | Consult | Attempt | Pause, request: httpx.Request) -> Any:
        if isinstance(effect, (Fetch, Consult)):
            return perform(self._outbound.mesh, effect)
        if isinstance(effect, Pause):
            return time.sleep(effect.seconds)
        try:
            with only_ours(_is_ours(effect, self._outbound, request)):
                return self._inner.handle_request(_rewritten(request, effect))
        except httpx.TransportError as error:
            return _failure(error)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(exc_type, exc_value, traceback)

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


class AsyncMeshTransport(httpx.AsyncBaseTransport):
    """Sends the calls of an ``httpx.AsyncClient`` through the mesh; everything else as ``MeshTransport``."""

    def __init__(self, mesh: Mesh, *, inner: httpx.AsyncBaseTransport | None = None, retries: int = 2) -> None:
        self._outbound = Outbound(mesh, retries=retries)
        self._inner = inner if inner is not None else httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one hop of one call."""
        if not self._outbound.mesh.started:
            await self._outbound.mesh.astart()
        steps = self._outbound.steps(_outgoing(request))
        try:
            effect = next(steps)
            while True:
                effect = steps.send(await self._perform(effect, request))
        except StopIteration as stop:
            return _received(stop.value, self._outbound.balancer)
        except NoEndpoint as error:
            raise ServiceUnreachable(error, request) from error
        except Refused as error:
            raise CallRefused(error, request) from error
        finally:
            steps.close()

    async def _perform(self, effect: Fetch | Consult | Attempt | Pause, request: httpx.Request) -> Any:
        if isinstance(effect, (Fetch, Consult)):
            return await aperform(self._outbound.mesh, effect)
        if isinstance(effect, Pause):
            return await asyncio.sleep(effect.seconds)
        try:
            with only_ours(_is_ours(effect, self._outbound, request)):
                return await self._inner.handle_async_request(_rewritten(request, effect))
        except httpx.TransportError as error:
            return _failure(error)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


def _outgoing(request: httpx.Request) -> Outgoing:
    url = request.url
    return Outgoing(
        request.method,
        url.scheme,
        url.host,
        one_path(url.path),
        operation_of(request.method, url.path),
        request.headers.raw,
        Query(url.query.decode("ascii", "replace")),
        isinstance(request.stream, httpx.ByteStream),
    )


def _is_ours(attempt: Attempt, outbound: Outbound, request: httpx.Request) -> bool:
    return attempt.endpoint is not None or outbound.ours(request.url.host)


def _rewritten(request: httpx.Request, attempt: Attempt) -> httpx.Request:
    url = request.url
    if attempt.endpoint is not None:
        base = httpx.URL(attempt.endpoint.url)
        url = url.copy_with(scheme=base.scheme, host=base.host, port=base.port)
    extensions = dict(request.extensions)
    if attempt.timeout is not None:
        extensions["timeout"] = _bounded(extensions.get("timeout") or {}, attempt.timeout)
    return httpx.Request(request.method, url, headers=attempt.headers, stream=request.stream, extensions=extensions)


def _bounded(given: dict[str, float | None], timeout: float) -> dict[str, float]:
    kinds = ("connect", "read", "write", "pool")
    return {kind: timeout if (own := given.get(kind)) is None else min(own, timeout) for kind in kinds}


def _failure(error: httpx.TransportError) -> Failure:
    return Failure(error, unsent=isinstance(error, _UNSENT), broken=isinstance(error, _BROKEN))


def _received(sent: Sent, balancer: Balancer) -> httpx.Response:
    response: httpx.Response = sent.response
    response.extensions = {**response.extensions, EXTENSION: sent}
    if sent.endpoint is not None and response.is_closed:
        balancer.end(sent.endpoint)
    elif sent.endpoint is not None:
        response.stream = _Counted(response.stream, balancer, sent.endpoint)
    return response


class _Counted(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response's body; its endpoint is given back when it is closed."""

    def __init__(self, stream: Any, balancer: Balancer, endpoint: Endpoint) -> None:
        self._stream = stream
        self._balancer = balancer
        self._endpoint: Endpoint | None = endpoint

    def _end(self) -> None:
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            self._balancer.end(endpoint)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._end()
