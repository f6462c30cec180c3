"""The walk over an application's routes: templates become operations, captures that no request sees are reported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastapi import FastAPI, routing
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from mcp_sdk import Mesh
from mcp_sdk.middleware import declare_routes, path_template

__all__ = ["check_routes", "mounted", "operations"]

_PARAMETER = re.compile(r"\{(?P<name>\w+)(?::(?P<converter>\w+))?\}")


def check_routes(app: FastAPI, mesh: Mesh) -> None:
    """Declare the operations of an application, so that path parameters name entities, and check its captures.

    Included routers and mounted applications count too. A capture decorator above a route's decorator is a
    ``UserWarning`` with its place and the mend. The lifespan does this; call it where an application has none.
    """
    declare_routes(mesh, operations(app))


def operations(app: Starlette) -> Iterator[tuple[str, Any]]:
    """Give the operations of an application, ``GET /orders/{order}``, each with its endpoint."""
    for prefix, route in _walk(app.routes, ""):
        path = path_template(prefix + (getattr(route, "path", None) or ""), _PARAMETER)
        for method in sorted(getattr(route, "methods", None) or {"GET"}):
            yield f"{method} {path}", getattr(route, "endpoint", None)


def mounted(app: Starlette) -> Iterator[Starlette]:
    """Give the applications that are mounted in one, and in those."""
    for _, route in _walk(app.routes, "", mounts=True):
        inner = getattr(route, "app", None)
        if isinstance(inner, Starlette):
            yield inner


def _walk(routes: Sequence[BaseRoute], prefix: str, *, mounts: bool = False) -> Iterator[tuple[str, Any]]:
    for route in _flat(routes):
        inner = getattr(route, "routes", None)
        if inner is None or mounts:
            yield prefix, route
        if inner is not None:
            yield from _walk(inner, prefix + (getattr(route, "path", None) or ""), mounts=mounts)


def _flat(routes: Sequence[BaseRoute]) -> Iterable[Any]:
    """Give routes with those of included routers in their places, which newer versions of FastAPI keep apart."""
    contexts = getattr(routing, "iter_route_contexts", None)
    return contexts(routes) if contexts is not None else routes
