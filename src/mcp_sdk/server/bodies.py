"""What a body must be: JSON (RFC 8259) in UTF-8, said to be JSON, without what only some readers understand.

Routers are made by ``router``, so that every route refuses the same things with the same words.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.dependencies.models import Dependant
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, BeforeValidator, Field

from mcp_sdk.protocol.plain import require_characters
from mcp_sdk.server.faults import Fault

__all__ = ["INT53", "ROUTE", "When", "content_type", "parse", "require_few", "router"]

ROUTE = "mcp_sdk.route"
"""Where a request's scope holds a list that its route's template is put into, for the metrics."""

TOKENS = 300_000
"""Strings, commas and opening brackets of one body: what it says may become a hundred times as large in memory."""

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,\[{]', re.DOTALL)
"""A string that is never closed goes to the end: looking for its end again and again would be quadratic."""

ITEMS = 10_000
"""Items of a list that a body brings. Whatever is longer is refused at its first item too many."""

INT53 = 2**53
"""The bound of whole numbers: readers of OpenAPI, and of JSON, hold larger ones as a double."""


def _text(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError("a moment is text")
    return value


When = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text)]
"""A moment with its zone, as text (RFC 3339)."""


def router(prefix: str = "", *, tags: list[str | Enum] | None = None) -> APIRouter:
    """Give a router whose routes read bodies strictly."""
    return APIRouter(prefix=prefix, tags=tags, route_class=StrictRoute)


class StrictRoute(APIRoute):
    """A route that takes JSON where it takes a body, and names itself to the metrics.

    Under ``/v1`` it refuses query parameters that it does not know: a scope that is passed over is another scope. Who
    asks is known before a body is read, for the framework reads it before anything else.
    """

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Give what handles a request."""
        handle = super().get_route_handler()
        known = _queried(self.dependant) if self.path.startswith("/v1/") else None

        async def handling(request: Request) -> Response:
            request.scope.get(ROUTE, []).append(self.path_format)
            unknown = [] if known is None else [name for name in request.query_params if name not in known]
            if unknown:
                await request.app.state.desk.door.admit(request)
                raise _unknown(request, unknown, known or frozenset())
            if self.body_field is not None:
                await request.app.state.desk.door.admit(request)
                _require_json(request)
            return await handle(StrictRequest(request.scope, request.receive))

        return handling


def _queried(dependant: Dependant) -> frozenset[str]:
    """Give the query parameters of a route and of what it depends on."""
    own = frozenset(field.alias for field in dependant.query_params)
    return own.union(*map(_queried, dependant.dependencies))


def _unknown(request: Request, unknown: Iterable[str], known: Iterable[str]) -> Fault:
    said = ", ".join(f"{name!r:.60}" for name in islice(unknown, 5))
    names = sorted(known)
    detail = (
        f"{request.method} {request.url.path:.200} does not know the query parameter {said}; it knows "
        f"{', '.join(names) or 'none'}. Leave it out, or say it in the body where that has a place for it: see /docs"
    )
    return Fault(422, "unknown-parameter", detail, known=names)


class StrictRequest(Request):
    """A request whose JSON is read by ``parse``."""

    async def json(self) -> Any:
        """Give the body; raises a 400 for what is not JSON."""
        return parse(await self.body())


def content_type(request: Request) -> str:
    """Give the media type of a body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _require_json(request: Request) -> None:
    if content_type(request) != "application/json":
        raise Fault(415, "not-json", "send the body as content-type: application/json")


def parse(body: bytes, *, twice: bool = False) -> Any:
    """Read JSON; raises a 400 that says what is wrong with it, and a 413 for one that says too many things.

    A name that an object says ``twice`` is wrong unless that is taken, and then the last counts.
    """
    require_few(body)
    try:
        text = body.decode()
        plain = json.loads(text, parse_constant=_never, parse_float=_finite, object_pairs_hook=None if twice else _once)
        require_characters(text, plain)
    except UnicodeError as error:
        raise Fault(400, "malformed", f"the body is not UTF-8: {str(error)[-80:]}") from error
    except RecursionError as error:
        raise Fault(400, "malformed", "the body is nested too deeply") from error
    except ValueError as error:
        raise Fault(400, "malformed", f"the body is not JSON: {str(error)[:120]}") from error
    return plain


def require_few(body: bytes) -> None:
    """Raise a 413 for a body that says too many things."""
    if _has_more(body, TOKENS):
        raise Fault(413, "too-many-values", f"a body has {TOKENS} strings, commas and opening brackets at most")


def _has_more(body: bytes, most: int) -> bool:
    """Tell whether a body has more than so many tokens; what is in strings does not count, as long as it is little."""
    if sum(map(body.count, (b",", b"[", b"{", b'"'))) <= most:
        return False
    return next(islice(_TOKEN.finditer(body), most, None), None) is not None


def _never(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; raises a 400 for a name that is said twice, of which every reader may believe another value."""
    made = dict(pairs)
    if len(made) != len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise Fault(400, "malformed", f"an object in the body says {name!r:.80} twice: say it once")
    return made


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value
