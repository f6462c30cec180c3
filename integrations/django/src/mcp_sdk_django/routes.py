"""The walk over the URLconf: routes become operations, so that their parameters name entities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.urls import get_resolver
from django.urls.resolvers import RegexPattern, RoutePattern

from mcp_sdk import ConfigurationError, Mesh

__all__ = ["declare_routes", "template"]

_PARAMETER = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")
_GROUP = re.compile(r"\(\?P<(\w+)>[^()]*\)")
_PLAIN = re.compile(r"(?:[\w/<>~%@!&,;=:-]|\\[./-])*")


def declare_routes(mesh: Mesh, urlconf: str | None = None) -> None:
    """Declare the operations of a URLconf, ``ROOT_URLCONF`` unless given.

    Regular expressions count where they are anchored, and are plain text and named groups.
    """
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
        inner = getattr(entry, "url_patterns", None)
        written = _written(entry.pattern, whole=inner is None)
        if written is None:
            continue
        route = prefix + written
        if inner is None:
            yield route
        else:
            yield from _routes(inner, route)


def _written(pattern: Any, *, whole: bool) -> str | None:
    """Write a pattern as a route of ``path``; None for what is none. ``whole`` says that nothing comes behind it."""
    text = str(pattern)
    if isinstance(pattern, RoutePattern) or not text:
        return text
    anchored = isinstance(pattern, RegexPattern) and text[0] == "^" and (not whole or text.endswith(("$", "\\Z")))
    plain = _GROUP.sub(r"<\1>", text[1:].removesuffix("$").removesuffix("\\Z").removesuffix("/?"))
    return plain.replace("\\", "") if anchored and _PLAIN.fullmatch(plain) else None


def _declare(mesh: Mesh, operation: str) -> None:
    try:
        mesh.declare_operations([operation])
    except ConfigurationError:  # a segment like <a>-<b>: it names no entity, and the route works all the same
        return
