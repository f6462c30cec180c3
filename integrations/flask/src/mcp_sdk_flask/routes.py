"""The walk over an application's URL rules: they become operations, and captures that no request sees are reported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flask import Flask

from mcp_sdk import Mesh
from mcp_sdk.middleware import declare_routes, path_template

__all__ = ["check_routes", "operations"]

_VARIABLE = re.compile(r"<(?:(?P<converter>[A-Za-z_]\w*)(?:\(.*?\))?:)?(?P<name>\w+)>")


def check_routes(app: Flask, mesh: Mesh) -> None:
    """Declare the operations of an application, so that URL variables name entities, and check its captures.

    A capture decorator above a route's decorator is a ``UserWarning`` with its place and the mend. ``MeshFlask`` does
    this before the first request.
    """
    declare_routes(mesh, operations(app))


def operations(app: Flask) -> Iterator[tuple[str, Any]]:
    """Give the operations of an application, ``GET /orders/{order}``, each with its view."""
    converters = app.url_map.converters
    rest = [name for name, converter in converters.items() if not getattr(converter, "part_isolating", True)]
    for rule in app.url_map.iter_rules():
        path = path_template(rule.rule, _VARIABLE, rest=rest)
        for method in sorted(rule.methods or {"*"}):
            yield f"{method} {path}", app.view_functions.get(rule.endpoint)
