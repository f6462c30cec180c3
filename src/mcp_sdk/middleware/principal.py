"""Who calls: readers that turn what the application's authentication found out into a ``Principal``.

A reader is a function of the ASGI scope or the WSGI environ that gives a ``Principal`` or None; under ASGI it may be a
coroutine function. It may also give ``Run(function)`` for work that blocks. What a reader raises counts as nobody.

Order matters: the authentication must run *before* (outside) the mesh's middleware. Starlette and FastAPI run the
middleware that was added last first, so add ``MeshMiddleware`` before ``AuthenticationMiddleware``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mcp_sdk.decisions import Principal

__all__ = ["Reader", "Unread", "remote_user", "scope_user", "user_principal"]

Reader = Callable[[Any], Any]


class Unread(Exception):
    """A reader found credentials that do not hold: nobody, counted under ``reason``, a word from the reader's code."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def scope_user(carrier: Mapping[str, Any]) -> Principal | None:
    """Read the scope's ``user`` and ``auth``, which Starlette's AuthenticationMiddleware sets. The default reader."""
    user = carrier.get("user")
    if user is None:
        return None
    scopes = getattr(carrier.get("auth"), "scopes", ())
    return user_principal(user, scopes=_texts(scopes))


def remote_user(environ: Mapping[str, Any]) -> Principal | None:
    """Read ``REMOTE_USER``, which a web server sets that authenticated the caller itself (RFC 3875 section 4.1.11)."""
    name = environ.get("REMOTE_USER")
    return Principal(id=name, authenticated=True) if isinstance(name, str) and name else None


def user_principal(
    user: Any, *, scopes: Iterable[str] = (), mfa: bool = False, flags: Iterable[str] = ()
) -> Principal | None:
    """Turn a user object of a framework into a principal: Django's, Flask-Login's, Starlette's or one like them.

    ``is_authenticated`` may be a value or a method; the id is the first there is of ``pk``, ``get_id()``, ``identity``,
    ``id``, ``username``; roles are ``roles``, and of ``flags`` those that are set (``staff`` by ``is_staff``). Gives
    None for nobody.
    """
    if user is None or not _called(getattr(user, "is_authenticated", False)):
        return None
    found = _id_of(user)
    if not found:
        return None
    roles = (*_texts(getattr(user, "roles", ())), *(flag for flag in flags if getattr(user, f"is_{flag}", False)))
    return Principal(id=found, authenticated=True, roles=roles, scopes=tuple(scopes), mfa=mfa)


def _called(value: Any) -> Any:
    return value() if callable(value) else value


def _id_of(user: Any) -> str:
    for name in ("pk", "get_id", "identity", "id", "username"):
        try:
            value = _called(getattr(user, name, None))
        except NotImplementedError:  # Starlette's BaseUser.identity, where nobody wrote one
            continue
        if value is not None and value != "":
            return str(value)
    return ""


def _texts(values: Any) -> tuple[str, ...]:
    if isinstance(values, str):
        return tuple(values.split())
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, Iterable) else ()
