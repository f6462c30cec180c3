"""``MeshMiddleware``: enforcement in Django, under WSGI and ASGI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpResponse

from mcp_sdk import Principal, Refused
from mcp_sdk.middleware import Arrival, Outcome, RequestMiddleware, Response, read_environ, read_scope, user_principal
from mcp_sdk_django.conf import get_mesh, setting
from mcp_sdk_django.routes import operations

__all__ = ["MeshMiddleware"]


class MeshMiddleware(RequestMiddleware):
    """Decides on every request before its view sees it. Stands after the authentication in ``MIDDLEWARE``.

    The decision is ``request.mesh_decision``. ``MCP_SDK["PRINCIPAL"]`` names a function of the request that gives a
    ``Principal``, ``request.user`` unless given; ``MCP_SDK["GEO"]`` one of an address.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        asynchronous = iscoroutinefunction(get_response)
        if asynchronous:
            markcoroutinefunction(self)
        self._serve = self.aserve if asynchronous else self.serve
        reader = setting.option("PRINCIPAL") or (sync_to_async(read_user) if asynchronous else read_user)
        super().__init__(get_mesh(), principal=reader, geo=setting.option("GEO"), routes=operations)

    def __call__(self, request: Any) -> Any:
        """Serve one request; gives a coroutine under ASGI."""
        return self._serve(request, self.get_response)

    def process_exception(self, _request: Any, error: Exception) -> HttpResponse | None:
        """Answer a request whose view was refused."""
        return self.refused(error) if isinstance(error, Refused) else None

    def arrival(self, request: Any) -> Arrival:
        """Read what the server gave; a reader of the principal gets Django's request."""
        arrival = read_scope(request.scope) if hasattr(request, "scope") else read_environ(request.environ)
        arrival.carrier = request
        return arrival

    def answer(self, response: Response) -> HttpResponse:
        """Make a response of a refusal."""
        return HttpResponse(response.body, status=response.status, headers=dict(response.headers))

    def passed(self, response: Any, outcome: Outcome) -> bool:
        """Put headers on a response, and a stream in its own's place; a file that the server sends has no steps."""
        for name, value in outcome.headers:
            response.headers[name] = value
        streamed = getattr(response, "streaming", False) and getattr(response, "file_to_stream", None) is None
        if streamed:
            response.streaming_content = self.stream(response.streaming_content, outcome)
        return streamed


def read_user(request: Any) -> Principal | None:
    """Give who is logged in, by primary key; roles are the user's ``roles``, ``staff`` and ``superuser``. May query."""
    return user_principal(getattr(request, "user", None), flags=("staff", "superuser"))
