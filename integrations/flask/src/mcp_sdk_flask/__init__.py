"""mcp-sdk for Flask: ``MeshFlask(mesh).init_app(app)``."""

from mcp_sdk.middleware import context
from mcp_sdk_flask.extension import MeshFlask, refused
from mcp_sdk_flask.login import LoginReader
from mcp_sdk_flask.proxies import current_decision, current_principal
from mcp_sdk_flask.routes import check_routes

__all__ = [
    "LoginReader",
    "MeshFlask",
    "check_routes",
    "context",
    "current_decision",
    "current_principal",
    "refused",
]
