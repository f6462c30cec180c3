"""The application, and its system checks, coded ``mcp_sdk.E001`` and on: what is wrong and how to mend it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 - Django's own name
from django.core.exceptions import ImproperlyConfigured

from mcp_sdk_django.conf import get_mesh, setting

__all__ = ["MeshConfig", "check_mesh", "check_middleware"]

CODES = {"setting": "E001", "option": "E002", "declaration": "E003"}
MIDDLEWARE = "mcp_sdk_django.middleware.MeshMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


class MeshConfig(AppConfig):  # type: ignore[misc]
    """``INSTALLED_APPS = [..., "mcp_sdk_django"]``. Starts nothing: the first request of each process does that."""

    name = "mcp_sdk_django"
    label = "mcp_sdk"

    def ready(self) -> None:
        """Build the mesh of the settings; what is wrong with them is for the checks to say."""
        register(check_mesh)
        register(check_middleware)
        with suppress(ImproperlyConfigured):
            get_mesh()


def check_mesh(**_: Any) -> list[CheckMessage]:
    """Check the setting (E001); then its options (E002), and the models that decorators name (E003)."""
    found = setting.problems(get_mesh)
    return [Error(problem.text, hint=problem.hint, id=f"mcp_sdk.{CODES[problem.kind]}") for problem in found]


def check_middleware(**_: Any) -> list[CheckMessage]:
    """Check that the middleware is there (W001), once (E004), and after the authentication (E005)."""
    installed = list(settings.MIDDLEWARE)
    if MIDDLEWARE not in installed:
        hint = f"Add {MIDDLEWARE!r} to MIDDLEWARE, after the authentication."
        return [Warning("Nothing is decided on: the mesh's middleware is not installed.", hint=hint, id="mcp_sdk.W001")]
    if installed.count(MIDDLEWARE) > 1:
        return [Error(f"{MIDDLEWARE} is in MIDDLEWARE twice.", hint="Leave the last one.", id="mcp_sdk.E004")]
    if AUTHENTICATION in installed[installed.index(MIDDLEWARE) :]:
        problem = f"{MIDDLEWARE} comes before the authentication, so that nobody ever calls."
        return [Error(problem, hint=f"Put it after {AUTHENTICATION!r}.", id="mcp_sdk.E005")]
    return []
