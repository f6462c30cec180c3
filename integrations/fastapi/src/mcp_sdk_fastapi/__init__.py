"""mcp-sdk for FastAPI: one line installs it; contexts and decisions are dependencies."""

from mcp_sdk_fastapi.dependencies import CurrentDecision, CurrentPrincipal, context, requires
from mcp_sdk_fastapi.routes import check_routes
from mcp_sdk_fastapi.setup import install, lifespan, refused

__all__ = [
    "CurrentDecision",
    "CurrentPrincipal",
    "check_routes",
    "context",
    "install",
    "lifespan",
    "refused",
    "requires",
]
