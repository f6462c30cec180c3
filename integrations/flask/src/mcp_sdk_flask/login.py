"""Flask-Login's user as the principal."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import Any

from flask import Flask

from mcp_sdk import Principal
from mcp_sdk.middleware import scope_user, user_principal

__all__ = ["LoginReader"]


class LoginReader:
    """Reads ``flask_login.current_user`` before the application runs; without a login manager, what is in the environ.

    The user is loaded in a request context of its own, without the body: a ``request_loader`` may look at cookies and
    headers, not at the form. The session that it changes is not saved; the application's own request does that.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app

    def __call__(self, environ: Mapping[str, Any]) -> Principal | None:
        """Give the principal, or None for nobody."""
        if not hasattr(self._app, "login_manager"):
            return scope_user(environ)
        login = import_module("flask_login")
        with self._app.request_context({**environ, "wsgi.input": BytesIO(), "CONTENT_LENGTH": "0"}):
            return user_principal(login.current_user)
