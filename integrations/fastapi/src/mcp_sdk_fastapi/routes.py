"""The walk over an application's routes: templates become operations, captures that no request sees are reported."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastapi import FastAPI, routing
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from mcp_sdk import ConfigurationError, Mesh
from mcp_sdk.capture import misplaced

__all__ = ["check_routes", "mounted"]

_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")


def check_routes(app: FastAPI, mesh: Mesh) -> None:
    """Declare the operations of an application, so that path parameters name entities, and check its captures.

    Included routers and mounted applications count too. A capture decorator above a route's decorator is a
    ``UserWarning`` with its place and the mend. The lifespan does this; call it where an application has none.
    """
    declared = {pattern.text for pattern in mesh.operations}
    for prefix, route in _walk(app.routes, ""):
        for method in sorted(getattr(route, "methods", None) or {"GET"}):
            _declare(mesh, f"{method} {template(prefix + (getattr(route, 'path', None) or ''))}", declared)
        problem = misplaced(getattr(route, "endpoint", None))
        if problem:
            warnings.warn(problem, stacklevel=2)


def template(path: str) -> str:
    """Write a route's path as an operation's: without convertors, ``/**`` from a ``path`` convertor on."""
    parts = []
    for part in path.split("/"):
        parameter = _PARAMETER.fullmatch(part)
        if parameter is not None and parameter[2] == "path":
            parts.append("**")
            break
        parts.append(f"{{{parameter[1]}}}" if parameter is not None else part)
    return "/".join(parts) or "/"


def mounted(app: Starlette) -> Iterator[Starlette]:
    """Give the applications that are mounted in one, and in those."""
    for _, route in _walk(app.routes, "", mounts=True):
        inner = getattr(route, "app", None)
        if isinstance(inner, Starlette):
            yield inner


def _declare(mesh: Mesh, operation: str, declared: set[str]) -> None:
    if operation in declared:
        return
    try:
        mesh.declare_operations([operation])
    except ConfigurationError:  # a segment like {a}-{b}: it names no entity, and the route works all the same
        return
    declared.add(operation)


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
