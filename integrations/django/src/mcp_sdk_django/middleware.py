"""``MeshMiddleware``: enforcement in Django, under WSGI and ASGI.

What runs before the view and what runs after it may be different threads with different copies of the context, so
nothing is reset by a token of another's: the record is set, and the one before it is set again.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpResponse

from mcp_sdk import Refused, current
from mcp_sdk.middleware import Arrival, Enforcer, Outcome, Response, read_environ, read_scope, respond
from mcp_sdk_django.conf import get_mesh, option
from mcp_sdk_django.principals import aread_user, read_user
from mcp_sdk_django.routes import declare_routes
from mcp_sdk_django.streams import keep

__all__ = ["MeshMiddleware"]


class MeshMiddleware:
    """Decides on every request before its view sees it. Stands after the authentication in ``MIDDLEWARE``.

    The decision is ``request.mesh_decision``. ``MCP_SDK["PRINCIPAL"]`` names a function of the request that gives a
    ``Principal``, ``request.user`` unless given; ``MCP_SDK["GEO"]`` one of an address.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self.mesh = get_mesh()
        self._asynchronous = iscoroutinefunction(get_response)
        if self._asynchronous:
            markcoroutinefunction(self)
        reader = option("PRINCIPAL") or (aread_user if self._asynchronous else read_user)
        self._enforcer = Enforcer(self.mesh, principal=reader, geo=option("GEO"))
        self._walked = False
        self._lock = Lock()

    def __call__(self, request: Any) -> Any:
        """Serve one request; gives a coroutine under ASGI."""
        if self._asynchronous:
            return self.__acall__(request)
        if not self.mesh.watching:
            return self.get_response(request)
        outcome = self._enforcer.enter(self._arrival(request))
        if outcome.response is not None:
            return self._refused(outcome, outcome.response)
        outer = current.activate(outcome.record)
        try:
            return self._passed(outcome, self.get_response(_decided(request, outcome)))
        except BaseException:
            self._enforcer.finish(outcome)
            raise
        finally:
            current.activate(outer)

    async def __acall__(self, request: Any) -> Any:
        """Serve one request on the loop."""
        if not self.mesh.watching:
            return await self.get_response(request)
        outcome = await self._enforcer.aenter(self._arrival(request))
        if outcome.response is not None:
            return self._refused(outcome, outcome.response)
        outer = current.activate(outcome.record)
        try:
            return self._passed(outcome, await self.get_response(_decided(request, outcome)))
        except BaseException:
            self._enforcer.finish(outcome)
            raise
        finally:
            current.activate(outer)

    def process_exception(self, request: Any, error: Exception) -> HttpResponse | None:
        """Answer a request whose view was refused."""
        del request
        return _answer(respond(error.decision)) if isinstance(error, Refused) else None

    def _arrival(self, request: Any) -> Arrival:
        if not self._walked:
            with self._lock:
                self._walk()
        arrival = read_scope(request.scope) if hasattr(request, "scope") else read_environ(request.environ)
        arrival.carrier = request
        return arrival

    def _walk(self) -> None:
        if not self._walked:
            declare_routes(self.mesh)
            self._walked = True

    def _refused(self, outcome: Outcome, response: Response) -> HttpResponse:
        self._enforcer.finish(outcome)
        return _answer(response)

    def _passed(self, outcome: Outcome, response: Any) -> Any:
        for name, value in outcome.headers:
            response.headers[name] = value
        if not keep(response, outcome.record, lambda: self._enforcer.finish(outcome)):
            self._enforcer.finish(outcome)
        return response


def _decided(request: Any, outcome: Outcome) -> Any:
    request.mesh_decision = request.META["mcp_sdk.decision"] = outcome.decision
    return request


def _answer(response: Response) -> HttpResponse:
    return HttpResponse(response.body, status=response.status, headers=dict(response.headers))
