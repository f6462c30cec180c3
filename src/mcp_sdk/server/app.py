"""The application: one replica over a store, as ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from mcp_sdk._plugins import STORES, load
from mcp_sdk.ports import Store
from mcp_sdk.server import faults
from mcp_sdk.server.appending import Appender
from mcp_sdk.server.auditor import Auditor
from mcp_sdk.server.desk import Desk
from mcp_sdk.server.discreet import discreet
from mcp_sdk.server.door import open_door
from mcp_sdk.server.endpoints import Endpoints
from mcp_sdk.server.exits import Exits, Overdue
from mcp_sdk.server.housekeeping import housekeep
from mcp_sdk.server.hub import Hub
from mcp_sdk.server.limits import AnswerLimit, BodyLimit
from mcp_sdk.server.metrics import Counted, Metrics
from mcp_sdk.server.relays.relay import Relay
from mcp_sdk.server.rolling import Driver
from mcp_sdk.server.routes import (
    about,
    audit,
    authzen,
    changes,
    contexts,
    decide,
    epochs,
    feeds,
    health,
    overrides,
    owners,
    policies,
    registry,
    rollouts,
    stream,
    tokens,
    transitions,
)
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.server.unread import WRITE_TIME
from mcp_sdk.tasks import ended

__all__ = ["create_app"]


def create_app(settings: ServerSettings, store: Store | None = None) -> FastAPI:
    """Give the application of one replica; ``store`` is the one that ``settings.store`` names unless given.

    Raises ``UnknownPlugin`` and ``ConfigurationError`` for the store's URL.
    """
    store = discreet(store or load(STORES, settings.store)(settings.store, poll_interval=settings.poll_interval))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, float]]:
        hub = Hub(store, settings)
        shelf, door = open_door(hub, settings)
        endpoints = Endpoints(store, most=settings.endpoints, each=settings.service_endpoints)
        parts = (shelf, door, Auditor(store), Appender(store), endpoints)
        exits = Exits(hub.everyone)
        app.state.desk = Desk(store, hub, settings, Metrics(hub), exits, *parts)
        relay = Relay(hub)
        await hub.start()
        driver = Driver(app.state.desk, interval=settings.rollout_check)
        watching = exits.watch(lambda: hub.stale, settings.lease_check)
        keeping = housekeep(hub, settings.housekeeping), driver.run(), watching, relay.run()
        tasks = [asyncio.create_task(work) for work in keeping]
        try:
            yield {WRITE_TIME: settings.write_time}
        finally:
            await ended(tasks)
            await relay.close()
            await hub.close()

    app = FastAPI(
        title="mcp-sdk control plane",
        version=version("mcp-sdk"),
        lifespan=lifespan,
        responses=faults.RESPONSES,
        redirect_slashes=False,  # the redirect would go where the Host header says
    )
    modules = (
        contexts,
        transitions,
        policies,
        rollouts,
        registry,
        overrides,
        epochs,
        decide,
        authzen,
        feeds,
        stream,
        health,
        about,
        tokens,
        audit,
        changes,
        owners,
    )
    for module in modules:
        app.include_router(module.router)
    app.state.routes = [route for module in modules for route in module.router.routes]
    app.add_middleware(BodyLimit, size=settings.body_size, seconds=settings.body_time, together=settings.bodies)
    app.add_middleware(AnswerLimit, together=settings.answers)
    app.add_middleware(Overdue)
    app.add_middleware(Counted)
    faults.install(app)
    return app
