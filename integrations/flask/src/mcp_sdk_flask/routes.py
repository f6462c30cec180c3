"""The walk over an application's URL rules: they become operations, and captures that no request sees are reported."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

from flask import Flask

from mcp_sdk import ConfigurationError, Mesh
from mcp_sdk.capture import misplaced

__all__ = ["check_routes", "template"]

_VARIABLE = re.compile(r"<(?:(?P<converter>[A-Za-z_]\w*)(?:\(.*?\))?:)?(?P<name>\w+)>")


def check_routes(app: Flask, mesh: Mesh) -> None:
    """Declare the operations of an application, so that URL variables name entities, and check its captures.

    A capture decorator above a route's decorator is a ``UserWarning`` with its place and the mend. ``MeshFlask`` does
    this before the first request.
    """
    declared = {pattern.text for pattern in mesh.operations}
    for rule in app.url_map.iter_rules():
        path = template(rule.rule, app.url_map.converters)
        for method in sorted(rule.methods or {"*"}):
            _declare(mesh, f"{method} {path}", declared)
    for endpoint in dict.fromkeys(rule.endpoint for rule in app.url_map.iter_rules()):
        problem = misplaced(app.view_functions.get(endpoint))
        if problem:
            warnings.warn(problem, stacklevel=2)


def template(rule: str, converters: Mapping[str, Any]) -> str:
    """Write a rule as an operation's path: ``<int:order>`` is ``{order}``, a converter that takes slashes ``**``."""

    def written(variable: re.Match[str]) -> str:
        converter = converters.get(variable["converter"] or "default")
        return f"{{{variable['name']}}}" if getattr(converter, "part_isolating", True) else "**"

    whole, rest, _ = _VARIABLE.sub(written, rule).partition("**")
    return whole + rest


def _declare(mesh: Mesh, operation: str, declared: set[str]) -> None:
    if operation in declared:
        return
    try:
        mesh.declare_operations([operation])
    except ConfigurationError:  # a segment like <a>-<b>: it names no entity, and the route works all the same
        return
    declared.add(operation)
