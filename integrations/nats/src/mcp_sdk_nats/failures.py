"""Failures of NATS and JetStream, told in words that help; a password is never among them.

Codes of JetStream: https://github.com/nats-io/nats-server/blob/main/server/errors.json
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nats import errors

from mcp_sdk.exceptions import StoreError, StoreUnavailable

__all__ = ["Behind", "Missing", "Unanswered", "no_stream", "refusal", "unreachable"]

WRONG_LAST = (10071, 10164)
NOT_FOUND = (10014, 10037, 10043, 10057, 10059)
DISABLED = (10039, 10076)
FULL = (10002, 10023, 10028, 10047, 10077, 10120)


class Behind(Exception):
    """A compare-and-set was lost: the stream's last sequence is ``last``, or 0 where the server does not say."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.last = last


class Missing(Exception):
    """There is no such stream, message or consumer; never raised to a caller."""


def refusal(error: Mapping[str, Any], hosts: str) -> Exception:
    """Give the exception for an error that JetStream answered with."""
    code, text = int(error.get("err_code", 0)), str(error.get("description", ""))
    if code in WRONG_LAST:
        found = re.search(r"(\d+)$", text)
        return Behind(int(found.group(1)) if found else 0)
    if code in NOT_FOUND:
        return Missing(text)
    if code in DISABLED:
        return _disabled(hosts)
    if code in FULL:
        return StoreUnavailable(
            f"NATS at {hosts} has no room for more ({text}). Raise max_file_store of its jetstream block, or the "
            "account's limit, or let mesh models say retention."
        )
    kind = StoreUnavailable if int(error.get("code", 0)) >= 500 else StoreError
    return kind(f"NATS at {hosts} refused: {text} (code {code}).")


class Unanswered(StoreUnavailable):
    """Nobody takes a subject: JetStream is off, or the stream is gone."""


def _disabled(hosts: str) -> Unanswered:
    return Unanswered(
        f"JetStream is not enabled on NATS at {hosts}. Start it with: nats-server -js -sd DIRECTORY; or enable it for "
        "this account."
    )


def no_stream(hosts: str) -> Unanswered:
    """Say that nobody answers a request of JetStream's: it is off, or its stream went away."""
    return _disabled(hosts)


def unreachable(error: BaseException | None, hosts: str) -> StoreUnavailable:
    """Say why there is no connection."""
    if isinstance(error, errors.AuthorizationError) or "authorization" in str(error).lower():
        return StoreUnavailable(
            f"NATS at {hosts} does not accept this user, password or token. Check the URL of control_plane, and the "
            "server's authorization block."
        )
    said = "" if isinstance(error, TimeoutError) else str(error or "")
    why = f": {said}" if said else ""
    return StoreUnavailable(
        f"no NATS server answers at {hosts}{why}. Start one with: nats-server -js -sd DIRECTORY; or check the address."
    )
