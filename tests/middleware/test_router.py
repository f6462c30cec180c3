"""``MeshRouter`` and ``WSGIMeshRouter``: versions of an application in one process."""

import asyncio
import json

import pytest
from scripted import call, scope_of

from mcp_sdk import ConfigurationError, Decision, Route
from mcp_sdk.middleware import MeshMiddleware, MeshRouter, WSGIMeshRouter
from mcp_sdk.services import Subset


def version(name):
    """Give an ASGI application that says its name."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": name.encode()})

    return app


def wsgi_version(name):
    """Give a WSGI application that says its name."""

    def app(environ, start_response):
        start_response("200 OK", [])
        return [name.encode()]

    return app


ASGI = {"v1": version("v1"), "v2": version("v2")}
WSGI = {"v1": wsgi_version("v1"), "v2": wsgi_version("v2")}


def served(app):
    """Serve one request and give its status and body."""
    sent = asyncio.run(call(app, scope_of()))
    return sent[0]["status"], sent[1]["body"]


def wsgi_served(app):
    """Serve one WSGI request and give its status and body."""
    said = []
    body = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda status, headers: said.append(status))
    return int(said[0][:3]), b"".join(body)


@pytest.fixture(params=["asgi", "wsgi"])
def serve(request):
    """Give a function that builds a router over both versions and serves one request."""
    if request.param == "asgi":
        return lambda mesh, **options: served(MeshRouter(ASGI, mesh, **options))
    return lambda mesh, **options: wsgi_served(WSGIMeshRouter(WSGI, mesh, **options))


def test_the_decided_version_serves(serve, mesh, plane):
    """The route's version is dispatched to."""
    plane.rule = lambda _: Decision(route=Route(Subset("v2")))
    assert serve(mesh) == (200, b"v2")


def test_without_a_route_the_default_serves(serve, mesh):
    """The first version, or the one that is said to be the default."""
    assert serve(mesh) == (200, b"v1")
    assert serve(mesh, default="v2") == (200, b"v2")


def test_a_missing_version_is_said_so_and_counted(serve, mesh, plane):
    """503 with problem details that name what is here."""
    plane.rule = lambda _: Decision(route=Route(Subset("v9")))
    status, body = serve(mesh)
    assert status == 503
    assert "v1, v2" in json.loads(body)["detail"]
    assert mesh.telemetry.drops.read()["router", "no_version"] == 1


def test_observing_serves_the_default_where_a_version_is_missing(serve, plane, make_mesh):
    """In mode ``observe`` a route that leads nowhere loses nothing."""
    plane.rule = lambda _: Decision(route=Route(Subset("v9")))
    assert serve(make_mesh(mode="observe")) == (200, b"v1")


def test_a_middleware_in_front_decides_once(mesh, plane):
    """The router takes the decision that is there."""
    served(MeshMiddleware(MeshRouter(ASGI, mesh), mesh))
    assert len(plane.requests) == 1


def test_a_router_of_nothing_is_refused_when_it_is_built(mesh):
    """No versions, or a default that is none of them, cannot work."""
    with pytest.raises(ConfigurationError, match="at least one"):
        MeshRouter({}, mesh)
    with pytest.raises(ConfigurationError, match=r"'v3'.*v1, v2"):
        MeshRouter(ASGI, mesh, default="v3")


def life(log, name, fails=False):
    """Give an application that logs its lifespan."""

    async def app(scope, receive, send):
        await receive()
        log.append(f"{name} up")
        await send(
            {"type": "lifespan.startup.failed", "message": name} if fails else {"type": "lifespan.startup.complete"}
        )
        if fails:
            return
        await receive()
        log.append(f"{name} down")
        await send({"type": "lifespan.shutdown.complete"})

    return app


async def knows_no_lifespan(scope, receive, send):
    """Raise as Django does."""
    raise ValueError("only HTTP")


def lived(apps, mesh):
    """Serve a whole lifespan and give the types of what was said."""
    events = ({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    return [message["type"] for message in asyncio.run(call(MeshRouter(apps, mesh), {"type": "lifespan"}, *events))]


def test_the_lifespans_of_all_versions_run(mesh):
    """Each starts and stops once, one that knows no lifespans is left alone."""
    log = []
    said = lived({"v1": life(log, "a"), "v2": life(log, "b"), "v3": knows_no_lifespan}, mesh)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert log == ["a up", "b up", "b down", "a down"]


def test_a_version_that_fails_to_start_stops_the_others(mesh):
    """The failure is told on, and what had started is stopped."""
    log = []
    assert lived({"v1": life(log, "a"), "v2": life(log, "b", fails=True)}, mesh) == ["lifespan.startup.failed"]
    assert log == ["a up", "b up", "a down"]
