"""Versions of an application in one process, chosen by the decision's route."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from mcp_sdk.decisions import Decision
from mcp_sdk.exceptions import ConfigurationError, did_you_mean
from mcp_sdk.mesh import Mesh
from mcp_sdk.middleware.asgi import ASGIApp, MeshMiddleware, Message, Receive, Scope, Send, refuse
from mcp_sdk.middleware.wsgi import Environ, StartResponse, WSGIApp, WSGIMeshMiddleware, answer
from mcp_sdk.problems import Response, problem

__all__ = ["MeshRouter", "WSGIMeshRouter"]

App = TypeVar("App")


class _Versions(Generic[App]):
    """Applications by version, and which of them a decision's route means."""

    def __init__(self, apps: Mapping[str, App], mesh: Mesh, default: str) -> None:
        if not apps:
            raise ConfigurationError("a router needs at least one version of the application")
        self.default = default or next(iter(apps))
        if self.default not in apps:
            raise ConfigurationError(
                f"default version {self.default!r} is none of them.{did_you_mean(self.default, apps)}"
            )
        self.apps = dict(apps)
        self._mesh = mesh

    def choose(self, decision: Decision | None) -> App | None:
        """Give the application of the decided version, the default without one; None when nobody here is that version.

        In mode ``observe`` a version that is missing loses nothing: the default serves.
        """
        subset = decision.route.subset if decision is not None and decision.route is not None else None
        wanted = subset.version if subset is not None and subset.version else self.default
        found = self.apps.get(wanted)
        if found is not None:
            return found
        self._mesh.telemetry.dropped("router", "no_version")
        return None if self._mesh.enforcing else self.apps[self.default]

    def missing(self, decision: Decision | None) -> Response:
        """Give the response for a version that is not here."""
        route = decision.route if decision is not None else None
        wanted = str(route.subset) if route is not None else ""
        detail = f"This process serves {', '.join(sorted(self.apps))}, and not {wanted}"
        return problem(
            503, "no-version", "The decided version is not served here", detail, headers=(("retry-after", "1"),)
        )


class MeshRouter:
    """Serves each request by the version of the application that the decision's route names.

    ``MeshRouter({"v1": app1, "v2": app2}, mesh)`` is an ASGI application; it decides for itself where no
    ``MeshMiddleware`` of the mesh stands in front. ``default`` (the first, unless given) serves what no TrafficPolicy
    speaks of. Lifespans of all versions run. Raises ``ConfigurationError`` for no versions, or a default that is none
    of them.
    """

    def __init__(self, apps: Mapping[str, ASGIApp], mesh: Mesh, *, default: str = "", **options: Any) -> None:
        self._versions = _Versions(apps, mesh, default)
        self._entry = MeshMiddleware(self._dispatch, mesh, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        await self._entry(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _Lifespans(self._versions.apps.values()).run(scope, receive, send)
            return
        decision = scope.get("mcp_sdk.decision")
        app = self._versions.choose(decision)
        if app is None:
            await refuse(self._versions.missing(decision), scope, receive, send)
        else:
            await app(scope, receive, send)


class WSGIMeshRouter:
    """``MeshRouter`` for WSGI applications."""

    def __init__(self, apps: Mapping[str, WSGIApp], mesh: Mesh, *, default: str = "", **options: Any) -> None:
        self._versions = _Versions(apps, mesh, default)
        self._entry = WSGIMeshMiddleware(self._dispatch, mesh, **options)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        return self._entry(environ, start_response)

    def _dispatch(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        decision = environ.get("mcp_sdk.decision")
        app = self._versions.choose(decision)
        if app is None:
            return answer(self._versions.missing(decision), environ, start_response)
        return app(environ, start_response)


class _Lifespans:
    """The lifespans of several applications as one: all start or none is said to, all stop."""

    def __init__(self, apps: Iterable[ASGIApp]) -> None:
        self._lives = [_Life(app) for app in dict.fromkeys(apps)]

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the lifespan scope."""
        await receive()
        for life in self._lives:
            failure = await life.start(scope)
            if failure:
                await self._stop()
                await send({"type": "lifespan.startup.failed", "message": failure})
                return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        failure = await self._stop()
        if failure:
            await send({"type": "lifespan.shutdown.failed", "message": failure})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _stop(self) -> str:
        failures = [await life.stop() for life in reversed(self._lives)]
        return "; ".join(filter(None, failures))


class _Life:
    """One application's lifespan in a task of its own. One that knows no lifespans is simply there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self, scope: Scope) -> str:
        """Start, and give what failed, or nothing."""
        self._task = asyncio.create_task(self._run(scope))
        return await self._tell("lifespan.startup")

    async def stop(self) -> str:
        """Stop, and give what failed, or nothing."""
        if self._task is None or self._task.done():
            return ""
        failure = await self._tell("lifespan.shutdown")
        await asyncio.wait([self._task])
        return failure

    async def _run(self, scope: Scope) -> None:
        try:
            await self._app(scope, self._inbox.get, self._said.put)
        except Exception:  # noqa: BLE001 - an application that raises here knows no lifespans (ASGI, Lifespan protocol)
            return

    async def _tell(self, kind: str) -> str:
        assert self._task is not None
        await self._inbox.put({"type": kind})
        heard = asyncio.create_task(self._said.get())
        await asyncio.wait({heard, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not heard.done() and self._said.empty():
            heard.cancel()
            return ""
        message = await heard
        return str(message.get("message") or "failed") if message["type"].endswith(".failed") else ""
