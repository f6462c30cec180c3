"""mcp-sdk for Django: add ``mcp_sdk_django`` to ``INSTALLED_APPS`` and its middleware to ``MIDDLEWARE``."""

from mcp_sdk.middleware import acontext, context
from mcp_sdk_django.conf import get_mesh, mesh
from mcp_sdk_django.database import TransactionCommits
from mcp_sdk_django.filters import q_for

__all__ = ["TransactionCommits", "acontext", "context", "get_mesh", "mesh", "q_for"]
