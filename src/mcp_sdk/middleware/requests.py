"""``RequestMiddleware``: enforcement for frameworks whose middleware gets a request and gives a response."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self

from mcp_sdk import current
from mcp_sdk.decisions import Decision, Refused
from mcp_sdk.mesh import Mesh
from mcp_sdk.middleware._flow import Enforcer, Outcome
from mcp_sdk.middleware.arrivals import Arrival
from mcp_sdk.middleware.geo import GeoReader
from mcp_sdk.middleware.principal import Reader
from mcp_sdk.middleware.routes import Routes
from mcp_sdk.middleware.streams import AsyncStream, Stream
from mcp_sdk.problems import Response, respond

__all__ = ["RequestMiddleware"]


class RequestMiddleware(ABC):
    """Decides on every request before what handles it sees it; a subclass knows the framework's requests and responses.

    See ``Enforcer`` for ``principal`` (a function of ``Arrival.carrier``), ``geo`` and ``routes``. What runs before the
    handler and after it may be different threads with different copies of the context, so nothing is reset by a token
    of another's: the record is set, and the one before it is set again.
    """

    def __init__(
        self, mesh: Mesh, *, principal: Reader | None = None, geo: GeoReader | None = None, routes: Routes | None = None
    ) -> None:
        self.mesh = mesh
        self.enforcer: Enforcer = Enforcer(mesh, principal=principal, geo=geo, routes=routes)

    @abstractmethod
    def arrival(self, request: Any) -> Arrival:
        """Read a request: ``read_scope`` or ``read_environ`` of what stands behind it."""

    @abstractmethod
    def answer(self, response: Response) -> Any:
        """Make the framework's response of a refusal."""

    @abstractmethod
    def passed(self, response: Any, outcome: Outcome) -> bool:
        """Put ``outcome.headers`` on a response; where its body is streamed, put ``stream`` in its place and say so."""

    def decided(self, request: Any, decision: Decision) -> None:
        """Put the decision on a request that goes on: ``request.mesh_decision``."""
        request.mesh_decision = decision

    def refused(self, error: Refused) -> Any:
        """Make the framework's response of what was raised behind the middleware; for its own error handlers."""
        return self.answer(respond(error.decision))

    def serve(self, request: Any, handle: Callable[[Any], Any]) -> Any:
        """Serve one request in synchronous code."""
        if not self.mesh.watching:
            return handle(request)
        outcome = self.enforcer.enter(self.arrival(request))
        if outcome.response is not None:
            return self._ended(outcome, outcome.response)
        with _Work(self, outcome) as work:
            self.decided(request, outcome.decision)
            work.response = handle(request)
        return work.end()

    async def aserve(self, request: Any, handle: Callable[[Any], Awaitable[Any]]) -> Any:
        """Serve one request on the running loop."""
        if not self.mesh.watching:
            return await handle(request)
        outcome = await self.enforcer.aenter(self.arrival(request))
        if outcome.response is not None:
            return self._ended(outcome, outcome.response)
        with _Work(self, outcome) as work:
            self.decided(request, outcome.decision)
            work.response = await handle(request)
        return work.end()

    def stream(self, body: Iterable[Any] | AsyncIterable[Any], outcome: Outcome) -> Stream | AsyncStream:
        """Give a streamed body whose steps run with the request's record, and whose ``close`` counts it out."""
        finish = partial(self.enforcer.finish, outcome)
        if isinstance(body, AsyncIterable):
            return AsyncStream(body, outcome.record, finish)
        return Stream(body, partial(current.run, outcome.record), finish)

    def _ended(self, outcome: Outcome, response: Response) -> Any:
        self.enforcer.finish(outcome)
        return self.answer(response)


class _Work:
    """One request that goes on: inside, its record is the one at hand, and a ``Refused`` out of it is its response."""

    def __init__(self, middleware: RequestMiddleware, outcome: Outcome) -> None:
        self._middleware = middleware
        self._outcome = outcome
        self.response: Any = None

    def __enter__(self) -> Self:
        self._outer = current.activate(self._outcome.record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        current.activate(self._outer)
        if isinstance(error, Refused):
            self.response = self._middleware.refused(error)
            return True
        if error is not None:
            self._middleware.enforcer.finish(self._outcome, failed=True)
        return False

    def end(self) -> Any:
        """Give the response, and count the request out unless its stream does that."""
        status, outcome = getattr(self.response, "status_code", None), self._outcome
        if isinstance(status, int) and status >= 500:
            outcome = outcome._replace(failed=True)
        if not self._middleware.passed(self.response, outcome):
            self._middleware.enforcer.finish(outcome)
        return self.response
