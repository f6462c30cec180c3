"""``MeshFlask``: the extension."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

from flask import Flask, Response

from mcp_sdk import Mesh, Refused
from mcp_sdk.middleware import WSGIMeshMiddleware, respond
from mcp_sdk_flask.login import LoginReader
from mcp_sdk_flask.routes import check_routes

__all__ = ["MeshFlask", "refused"]


class MeshFlask:
    """Makes applications part of a mesh: ``MeshFlask(mesh).init_app(app)``, or ``MeshFlask(mesh, app)``.

    ``principal`` reads who calls from the WSGI environ; unless given it is Flask-Login's user, where the application
    has a login manager. ``geo`` reads where an address is. Routes and blueprints may be registered after ``init_app``:
    they are walked before the first request. The mesh starts in each worker with its first request.
    """

    def __init__(self, mesh: Mesh, app: Flask | None = None, *, principal: Any = None, geo: Any = None) -> None:
        self.mesh = mesh
        self._principal = principal
        self._geo = geo
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Wrap the application, and answer ``Refused`` that comes out of its views. Call it once for an application."""
        reader = self._principal if self._principal is not None else LoginReader(app)
        enforced = WSGIMeshMiddleware(app.wsgi_app, self.mesh, principal=reader, geo=self._geo)
        app.wsgi_app = _Walked(enforced, app, self.mesh)  # type: ignore[method-assign]
        app.register_error_handler(Refused, refused)
        app.extensions["mcp_sdk"] = self


def refused(error: Refused) -> Response:
    """Answer a request whose view was refused."""
    answer = respond(error.decision)
    return Response(answer.body, answer.status, list(answer.headers))


class _Walked:
    """An application whose routes are walked before its first request, when blueprints are all there."""

    def __init__(self, inner: Callable[..., Iterable[bytes]], app: Flask, mesh: Mesh) -> None:
        self._inner = inner
        self._app = app
        self._mesh = mesh
        self._done = False
        self._lock = Lock()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if not self._done:
            with self._lock:
                self._walk()
        return self._inner(environ, start_response)

    def _walk(self) -> None:
        if not self._done:
            check_routes(self._app, self._mesh)
            self._done = True
