"""The application: it makes the mesh know Django's transactions and models, and registers the system checks."""

from __future__ import annotations

from contextlib import suppress

from django.apps import AppConfig
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from mcp_sdk_django.checks import check_mesh, check_middleware
from mcp_sdk_django.conf import get_mesh

__all__ = ["MeshConfig"]


class MeshConfig(AppConfig):  # type: ignore[misc]
    """``INSTALLED_APPS = [..., "mcp_sdk_django"]``. Starts nothing: the first request of each process does that."""

    name = "mcp_sdk_django"
    label = "mcp_sdk"
    verbose_name = "mcp-sdk"

    def ready(self) -> None:
        """Build the mesh of the settings; what is wrong with them is for the checks to say."""
        checks.register(check_mesh)
        checks.register(check_middleware)
        with suppress(ImproperlyConfigured):
            get_mesh()
