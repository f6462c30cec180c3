"""Responses to refused requests. HTTP status codes are chosen here and nowhere else.

Bodies are problem details (RFC 9457). ``StepUpRequired`` is the challenge of RFC 9470, ``Throttled`` carries
``Retry-After`` (RFC 9110 section 10.2.3) and the fields of draft-ietf-httpapi-ratelimit-headers-09, ``Shed`` is 503. A
body names the policy, the rule and what the policy's author wrote for callers; never the clause, and never a context's
value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from mcp_sdk.decisions import (
    Decision,
    Denied,
    Limit,
    Reason,
    ReviewRequired,
    Shed,
    StepUpRequired,
    Throttled,
)

__all__ = ["Response", "problem", "quota_headers", "respond"]

TYPE = "urn:mcp-sdk:problem:"
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response: ``headers`` are printable ASCII, names in lower case; ``body`` is JSON in UTF-8."""

    status: int
    headers: Headers
    body: bytes

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI wants them."""
        return [(name.encode("ascii"), value.encode("ascii")) for name, value in self.headers]

    @property
    def status_line(self) -> str:
        """The status as WSGI wants it."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"


def respond(decision: Decision) -> Response:
    """Give the response to a request that a decision refused; raises ``TypeError`` for one that it permits."""
    verdict = decision.verdict
    reason = decision.reasons[0] if decision.reasons else None
    if isinstance(verdict, Denied):
        return _answer(403, "denied", "Denied by policy", verdict.message, reason)
    if isinstance(verdict, ReviewRequired):
        return _answer(
            403, "review-required", "Waiting for a review", verdict.message, reason, review={"by": verdict.by}
        )
    if isinstance(verdict, StepUpRequired):
        return _step_up(verdict, reason)
    if isinstance(verdict, Throttled):
        return _throttled(verdict, reason)
    if isinstance(verdict, Shed):
        return _shed(verdict)
    raise TypeError("a permitted request has no refusing response")


def problem(status: int, kind: str, title: str, detail: str = "", *, headers: Headers = (), **members: Any) -> Response:
    """Give a problem response (RFC 9457) of type ``urn:mcp-sdk:problem:<kind>``; ``members`` extend it."""
    plain = {"type": TYPE + kind, "title": title, "status": status} | ({"detail": detail} if detail else {}) | members
    body = json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace")
    fixed = (
        ("content-type", "application/problem+json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
    )
    return Response(status, fixed + headers, body)


def quota_headers(limits: Iterable[tuple[Limit, int, float]]) -> Headers:
    """Give ``RateLimit-Policy`` and ``RateLimit``: each limit with what is left and the seconds until one more is."""
    known = list(limits)
    policies = ", ".join(
        f"{_sf_string(limit.policy)};q={limit.requests};w={_seconds(limit.per)}" for limit, _, _ in known
    )
    quotas = ", ".join(f"{_sf_string(limit.policy)};r={left};t={_seconds(wait)}" for limit, left, wait in known)
    return (("ratelimit-policy", policies), ("ratelimit", quotas)) if known else ()


def _answer(
    status: int, kind: str, title: str, detail: str, reason: Reason | None, *, headers: Headers = (), **members: Any
) -> Response:
    spoke = {"policy": reason.policy, "rule": reason.rule} if reason is not None else {}
    return problem(status, kind, title, detail, headers=headers, **spoke, **members)


def _step_up(verdict: StepUpRequired, reason: Reason | None) -> Response:
    detail = verdict.message or "A stronger or more recent authentication is required"
    challenge = {"error": "insufficient_user_authentication", "error_description": detail}
    members: dict[str, Any] = {}
    if verdict.acr:
        challenge["acr_values"] = members["acr_values"] = verdict.acr
    if verdict.max_age is not None:
        challenge["max_age"] = str(verdict.max_age)
        members["max_age"] = verdict.max_age
    value = "Bearer " + ", ".join(f"{name}={_quoted(text)}" for name, text in challenge.items())
    title = "Stronger authentication required"
    return _answer(401, "step-up-required", title, detail, reason, headers=(("www-authenticate", value),), **members)


def _throttled(verdict: Throttled, reason: Reason | None) -> Response:
    wait = _seconds(verdict.retry_after)
    headers = (("retry-after", str(wait)), *quota_headers([(verdict.limit, verdict.remaining, verdict.retry_after)]))
    detail = f"Try again in {wait} s"
    return _answer(429, "throttled", "Too many requests", detail, reason, headers=headers, retry_after=wait)


def _shed(verdict: Shed) -> Response:
    wait = _seconds(verdict.retry_after)
    headers = (("retry-after", str(wait)),)
    title = verdict.message or "The service is over its capacity"
    return problem(503, "shed", title, f"Try again in {wait} s", headers=headers, retry_after=wait)


def _seconds(seconds: float) -> int:
    return max(1, math.ceil(min(seconds, 86_400.0))) if not math.isnan(seconds) else 1


def _printable(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def _quoted(text: str) -> str:
    """Write a quoted-string (RFC 9110 section 5.6.4); what is not printable ASCII becomes ``?``."""
    return '"' + _printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


_sf_string = _quoted  # RFC 8941 section 3.3.3 has the same form
