"""What integrations do with the routes of an application: they become operations, and its captures are checked."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any

from mcp_sdk.capture import misplaced
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.mesh import Mesh

__all__ = ["Route", "Routes", "declare_routes", "path_template", "regex_template"]

Route = tuple[str, Any]
Routes = Callable[[], Iterable[Route]]

_GROUP = re.compile(r"\(\?P<(\w+)>[^()]*\)")
_PLAIN = re.compile(r"(?:[\w/{}~%@!&,;=:-]|\\[./-])*")


def declare_routes(mesh: Mesh, routes: Iterable[Route]) -> None:
    """Declare the operations of an application, so that path parameters name entities, and check its captures.

    ``routes`` are pairs of an operation (``GET /orders/{order}``) and the view that serves it. A route that is no
    operation, for a segment like ``{a}-{b}``, names no entity and works all the same. A capture decorator above a
    route's decorator is a ``UserWarning`` with its place and the mend. May be called again.
    """
    seen, views = {pattern.text for pattern in mesh.operations}, {}
    for operation, view in routes:
        views[id(view)] = view
        if operation not in seen:
            seen.add(operation)
            with suppress(ConfigurationError):
                mesh.declare_operations([operation])
    for problem in filter(None, map(misplaced, views.values())):
        warnings.warn(problem, stacklevel=2)


def path_template(route: str, parameter: re.Pattern[str], *, rest: Collection[str] = ("path",)) -> str:
    """Write a framework's route as the path of an operation: ``/files/<int:id>/<path:name>`` is ``/files/{id}/**``.

    ``parameter`` finds one parameter, with the groups ``name`` and ``converter``, which is ``default`` where none is
    written; ``rest`` are the converters that take slashes, and with them all that follows.
    """

    def written(found: re.Match[str]) -> str:
        return "**" if (found["converter"] or "default") in rest else f"{{{found['name']}}}"

    path, slashes, _ = parameter.sub(written, route).partition("**")
    return path + slashes or "/"


def regex_template(pattern: str, *, whole: bool = True) -> str | None:
    r"""Write a regular expression as (a part of) such a path: ``^old/(?P<order>\d+)$`` is ``old/{order}``.

    None for one that is not anchored (at its end too, where it is the ``whole``), or that is more than plain text and
    named groups. An empty part is one, too.
    """
    if not pattern and not whole:
        return ""
    body = pattern.removesuffix("$").removesuffix("\\Z")
    if not pattern.startswith("^") or (whole and body == pattern):
        return None
    plain = _GROUP.sub(r"{\1}", body[1:].removesuffix("/?"))
    return plain.replace("\\", "") if _PLAIN.fullmatch(plain) else None
