"""``WSGIMeshMiddleware``: enforcement in front of a WSGI application."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

from mcp_sdk import current
from mcp_sdk.decisions import Refused
from mcp_sdk.mesh import Mesh
from mcp_sdk.middleware._flow import Enforcer, Outcome
from mcp_sdk.middleware.arrivals import read_environ
from mcp_sdk.middleware.geo import GeoReader
from mcp_sdk.middleware.principal import Reader
from mcp_sdk.middleware.routes import Routes
from mcp_sdk.middleware.streams import Stream
from mcp_sdk.problems import Response, respond

__all__ = ["Environ", "StartResponse", "WSGIApp", "WSGIMeshMiddleware", "answer"]

Environ = MutableMapping[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Any, Any], Iterable[bytes]]

DECISION = "mcp_sdk.decision"
OWNER = "mcp_sdk.mesh"


class WSGIMeshMiddleware:
    """Decides on every request of an application before it sees it.

    ``app.wsgi_app = WSGIMeshMiddleware(app.wsgi_app, mesh)``; see ``Enforcer`` for ``principal``, ``geo``
    and ``routes``. The
    decision is ``environ["mcp_sdk.decision"]``, or ``mcp_sdk.middleware.decision(environ)``. The application, every
    step of a body that it streams, and that body's ``close()`` run in one context, which holds the request's record.
    The mesh starts with the first request of each process, so a prefork server's workers each have their own.
    """

    def __init__(
        self,
        app: WSGIApp,
        mesh: Mesh,
        *,
        principal: Reader | None = None,
        geo: GeoReader | None = None,
        routes: Routes | None = None,
    ) -> None:
        self.app = app
        self.mesh = mesh
        self.enforcer: Enforcer = Enforcer(mesh, principal=principal, geo=geo, routes=routes)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if not self.mesh.watching or environ.get(OWNER) is self.mesh:
            return self.app(environ, start_response)
        outcome = self.enforcer.enter(read_environ(environ))
        if outcome.response is None:
            return self._pass_on(outcome, environ, start_response)
        self.enforcer.finish(outcome)
        return answer(outcome.response, environ, start_response)

    def _pass_on(self, outcome: Outcome, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ[OWNER], environ[DECISION] = self.mesh, outcome.decision
        context = contextvars.copy_context()
        context.run(current.activate, outcome.record)
        start = _Start(start_response, outcome.headers)
        try:
            body = context.run(self.app, environ, start)
        except Refused as refusal:
            self.enforcer.finish(outcome)
            return answer(respond(refusal.decision), environ, start_response)
        except BaseException:
            self.enforcer.finish(outcome, failed=True)
            raise
        return self._settled(body, environ, lambda: self.enforcer.finish(outcome, failed=start.failed), context)

    def _settled(
        self, body: Iterable[bytes], environ: Environ, finish: Callable[[], None], context: contextvars.Context
    ) -> Iterable[bytes]:
        """Give the body as the server should see it: lists and files, which servers treat specially, as they are."""
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(body, (list, tuple)) or (isinstance(wrapper, type) and isinstance(body, wrapper)):
            finish()
            return body
        return Stream(body, context.run, finish)


class _Start:
    """Begins a response: adds the headers of rate limits, and sees whether it is an error of the service."""

    __slots__ = ("_headers", "_start", "failed")

    def __init__(self, start_response: StartResponse, headers: tuple[tuple[str, str], ...]) -> None:
        self._start, self._headers, self.failed = start_response, headers, False

    def __call__(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        self.failed = status[:1] == "5"
        return self._start(status, [*headers, *self._headers] if self._headers else headers, *exc_info)


def answer(response: Response, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Send a refusal."""
    start_response(response.status_line, list(response.headers))
    return [b""] if environ.get("REQUEST_METHOD") == "HEAD" else [response.body]
