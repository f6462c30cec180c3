"""Enforcement in front of applications: one flow, driven by ASGI, WSGI and the frameworks' own middleware."""

from mcp_sdk.enforcement import Run, decision, identify
from mcp_sdk.middleware._flow import Enforcer, Outcome
from mcp_sdk.middleware.arrivals import Arrival, read_environ, read_scope
from mcp_sdk.middleware.asgi import MeshMiddleware
from mcp_sdk.middleware.contexts import acontext, context
from mcp_sdk.middleware.geo import GeoDatabase
from mcp_sdk.middleware.jwt_principal import JwtPrincipal
from mcp_sdk.middleware.principal import remote_user, scope_user, user_principal
from mcp_sdk.middleware.requests import RequestMiddleware
from mcp_sdk.middleware.router import MeshRouter, WSGIMeshRouter
from mcp_sdk.middleware.routes import declare_routes, path_template, regex_template
from mcp_sdk.middleware.settings import Setting
from mcp_sdk.middleware.wsgi import WSGIMeshMiddleware
from mcp_sdk.problems import Response, problem, respond

__all__ = [
    "Arrival",
    "Enforcer",
    "GeoDatabase",
    "JwtPrincipal",
    "MeshMiddleware",
    "MeshRouter",
    "Outcome",
    "RequestMiddleware",
    "Response",
    "Run",
    "Setting",
    "WSGIMeshMiddleware",
    "WSGIMeshRouter",
    "acontext",
    "context",
    "decision",
    "declare_routes",
    "identify",
    "path_template",
    "problem",
    "read_environ",
    "read_scope",
    "regex_template",
    "remote_user",
    "respond",
    "scope_user",
    "user_principal",
]
