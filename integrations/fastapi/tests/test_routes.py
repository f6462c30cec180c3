"""The walk over the routes."""

from __future__ import annotations

import warnings

import pytest
from fastapi import APIRouter, FastAPI
from mcp_sdk_fastapi import check_routes
from mcp_sdk_fastapi.routes import operations

from mcp_sdk import context_observer, model_context

router = APIRouter()


@model_context(model="order", state="created")
@router.post("/above")
async def above():
    """Be registered before it is captured."""


@router.post("/below")
@model_context(model="order", state="created")
async def below():
    """Be captured before it is registered."""


@router.post("/raw")
async def raw():
    """Be registered as it is, on purpose."""


captured_elsewhere = context_observer(raw)


def _walk(app, mesh):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_routes(app, mesh)
    return [str(warning.message) for warning in caught]


def test_a_capture_above_the_route_is_reported(mesh):
    """The one that captures nothing is named with its place, and no other."""
    app = FastAPI()
    app.include_router(router, prefix="/api")
    [message] = _walk(app, mesh)
    line = above.__wrapped__.__code__.co_firstlineno
    assert message.startswith(f"{__file__}:{line}:1: above is captured above the decorator of its route")
    assert message.endswith("Put the route's decorator first.")


def test_a_capture_above_the_route_inside_a_factory_is_reported(mesh):
    """Functions of an application factory are found too, though nothing else holds the captured one."""

    def create_app():
        app = FastAPI()

        @context_observer
        @app.get("/lost")
        def lost():
            """Be registered before it is observed."""

        @app.get("/found")
        @context_observer
        def found():
            """Be observed."""

        return app

    [message] = _walk(create_app(), mesh)
    assert "lost" in message


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/", "/"),
        ("/orders/{order}", "/orders/{order}"),
        ("/orders/{order_id:int}/lines", "/orders/{order_id}/lines"),
        ("/files/{name:path}", "/files/**"),
        ("/files/{name:path}/raw", "/files/**"),
    ],
)
def test_templates(path, operation):
    """Convertors are no part of an operation, and a path convertor stands for the rest."""
    app = FastAPI(openapi_url=None)
    app.get(path)(raw)
    assert list(operations(app)) == [(f"GET {operation}", raw)]
