"""``install``: the middleware, the lifespan and the error handler of one application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from fastapi import FastAPI, Request, Response

from mcp_sdk import Mesh, Refused
from mcp_sdk.middleware import MeshMiddleware, respond
from mcp_sdk_fastapi.routes import check_routes, mounted

__all__ = ["install", "lifespan", "refused"]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def install(app: FastAPI, mesh: Mesh, **middleware: Any) -> None:
    """Make an application part of a mesh. Call it once, where the application is made; routes may be added later.

    Adds ``MeshMiddleware`` (``middleware`` are its other arguments: ``principal``, ``geo``) and the handler of
    ``Refused``, and puts the mesh around the application's lifespan. Middleware that finds out who calls is added
    *after* this call: what is added last runs first.
    """
    app.add_middleware(MeshMiddleware, mesh=mesh, **middleware)
    app.add_exception_handler(Refused, refused)
    app.router.lifespan_context = lifespan(mesh, app.router.lifespan_context)


def lifespan(mesh: Mesh, own: Lifespan | None = None) -> Lifespan:
    """Give a lifespan that checks the routes, starts the mesh and runs ``own`` inside: ``FastAPI(lifespan=…)``.

    What ``own`` yields is the application's state as ever. ``install`` does this.
    """

    @asynccontextmanager
    async def around(app: FastAPI) -> AsyncIterator[Any]:
        for inner in mounted(app):
            inner.exception_handlers.setdefault(Refused, refused)
        check_routes(app, mesh)
        async with mesh.lifespan(app), own(app) if own is not None else nullcontext() as state:
            yield state

    return around


async def refused(request: Request, error: Exception) -> Response:
    """Answer a request whose handler was refused. A websocket's refusal is left to ``MeshMiddleware``."""
    if not isinstance(request, Request) or not isinstance(error, Refused):
        raise error
    answer = respond(error.decision)
    return Response(answer.body, answer.status, dict(answer.headers))
