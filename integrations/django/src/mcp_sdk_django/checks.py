"""System checks, coded ``mcp_sdk.E001`` and on: ``manage.py check`` says what is wrong and how to mend it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name
from django.core.exceptions import ImproperlyConfigured

from mcp_sdk import ConfigurationError, ModelError
from mcp_sdk.capture import check_declarations
from mcp_sdk_django.conf import SETTING, get_mesh, make_mesh, option

__all__ = ["check_mesh", "check_middleware"]

MIDDLEWARE = "mcp_sdk_django.middleware.MeshMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


def check_mesh(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Check the setting (E001), its options (E002), and the models that decorators name (E003)."""
    del app_configs
    try:
        make_mesh()
        models = get_mesh().models
    except ImproperlyConfigured as error:
        hint = f'Write {SETTING} = {{"SERVICE": "orders"}}, or {SETTING} = "shop.mesh.mesh".'
        return [Error(str(error), hint=hint, id="mcp_sdk.E001")]
    found = [message for name in ("PRINCIPAL", "GEO") for message in _check_option(name)]
    try:
        check_declarations(models)
    except (ModelError, ConfigurationError) as error:
        hint = "Declare the model with @mesh.model(...), or mend the decorator."
        found.append(Error(str(error), hint=hint, id="mcp_sdk.E003"))
    return found


def _check_option(name: str) -> list[CheckMessage]:
    try:
        value = option(name)
    except ImportError as error:
        return [Error(f"{SETTING}[{name!r}]: {error}", hint="Write the dotted path of a function.", id="mcp_sdk.E002")]
    if value is None or callable(value):
        return []
    hint = "Write a function, or its dotted path."
    return [Error(f"{SETTING}[{name!r}] is {value!r}, which cannot be called.", hint=hint, id="mcp_sdk.E002")]


def check_middleware(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Check that the middleware is there (W001), once (E004), and after the authentication (E005)."""
    del app_configs
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
