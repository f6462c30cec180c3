"""``request.user`` as the principal."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async

from mcp_sdk import Principal
from mcp_sdk.middleware import user_principal

__all__ = ["aread_user", "read_user"]


def read_user(request: Any) -> Principal | None:
    """Give who is logged in, by primary key; roles are the user's ``roles``, ``staff`` and ``superuser``. May query."""
    user = getattr(request, "user", None)
    principal = user_principal(user)
    if principal is None:
        return None
    flags = (role for role in ("staff", "superuser") if getattr(user, f"is_{role}", False))
    return replace(principal, roles=(*principal.roles, *flags))


def aread_user(request: Any) -> Awaitable[Principal | None]:
    """Give the same where the loop must not be blocked: in the thread that Django queries in."""
    found: Awaitable[Principal | None] = sync_to_async(read_user)(request)
    return found
