"""The walk over the URLconf: routes become operations, so that their parameters name entities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.urls import get_resolver
from django.urls.resolvers import RoutePattern

from mcp_sdk import ConfigurationError, Mesh

__all__ = ["declare_routes", "template"]

_PARAMETER = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")


def declare_routes(mesh: Mesh, urlconf: str | None = None) -> None:
    """Declare the operations of a URLconf, ``ROOT_URLCONF`` unless given; regular expressions are left out."""
    declared = {pattern.text for pattern in mesh.operations}
    for route in _routes(get_resolver(urlconf).url_patterns, "/"):
        operation = f"* {template(route)}"
        if operation not in declared:
            declared.add(operation)
            _declare(mesh, operation)


def template(route: str) -> str:
    """Write a route as an operation's path: ``<int:order>`` is ``{order}``, ``<path:rest>`` is ``**``."""
    written = _PARAMETER.sub(lambda found: "**" if found["converter"] == "path" else f"{{{found['name']}}}", route)
    whole, rest, _ = written.partition("**")
    return whole + rest


def _routes(patterns: Iterable[Any], prefix: str) -> Iterator[str]:
    for entry in patterns:
        if not isinstance(entry.pattern, RoutePattern):
            continue
        route = prefix + str(entry.pattern)
        inner = getattr(entry, "url_patterns", None)
        if inner is None:
            yield route
        else:
            yield from _routes(inner, route)


def _declare(mesh: Mesh, operation: str) -> None:
    try:
        mesh.declare_operations([operation])
    except ConfigurationError:  # a segment like <a>-<b>: it names no entity, and the route works all the same
        return
