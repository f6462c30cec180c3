"""``MeshFlask``: the extension."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Flask, Response

from mcp_sdk import Mesh, Refused
from mcp_sdk.middleware import WSGIMeshMiddleware, respond
from mcp_sdk_flask.login import LoginReader
from mcp_sdk_flask.routes import operations

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
        app.wsgi_app = WSGIMeshMiddleware(  # type: ignore[method-assign]
            app.wsgi_app,
            self.mesh,
            principal=self._principal if self._principal is not None else LoginReader(app),
            geo=self._geo,
            routes=partial(operations, app),
        )
        app.register_error_handler(Refused, refused)
        app.extensions["mcp_sdk"] = self


def refused(error: Refused) -> Response:
    """Answer a request whose view was refused."""
    answer = respond(error.decision)
    return Response(answer.body, answer.status, list(answer.headers))
