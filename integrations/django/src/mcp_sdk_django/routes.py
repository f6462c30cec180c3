"""The walk over the URLconf: routes become operations, so that their parameters name entities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.urls import get_resolver
from django.urls.resolvers import RoutePattern

from mcp_sdk.middleware import path_template, regex_template

__all__ = ["operations"]

_PARAMETER = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")


def operations(urlconf: str | None = None) -> Iterator[tuple[str, Any]]:
    """Give the operations of a URLconf, ``ROOT_URLCONF`` unless given, each with its view.

    Regular expressions count where they are anchored, and are plain text and named groups.
    """
    for route, view in _routes(get_resolver(urlconf).url_patterns, "/"):
        yield f"* {path_template(route, _PARAMETER)}", view


def _routes(patterns: Iterable[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for entry in patterns:
        inner, text = getattr(entry, "url_patterns", None), str(entry.pattern)
        part = text if isinstance(entry.pattern, RoutePattern) else regex_template(text, whole=inner is None)
        if part is not None:
            yield from [(prefix + part, entry.callback)] if inner is None else _routes(inner, prefix + part)
