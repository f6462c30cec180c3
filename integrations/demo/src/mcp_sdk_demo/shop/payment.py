"""The payment service: a Django project in one file."""

from __future__ import annotations

import json
from secrets import token_urlsafe

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from mcp_sdk_django import get_mesh

from mcp_sdk import Principal
from mcp_sdk.middleware import Run
from mcp_sdk_demo.shop.business import ORDER, USER, customers, health

bearer = customers()


def customer(request: HttpRequest) -> Principal | Run | None:
    """Tell who pays: the gateway hands the customer's token on, and it is checked here again."""
    return bearer(request.META)


def take(request: HttpRequest) -> JsonResponse:
    """Take a payment."""
    approved = json.loads(request.body)["card"] != "stolen"
    return JsonResponse({"approved": approved}, headers={"X-Served-By": mesh.identity.instance})


def well(_: HttpRequest) -> JsonResponse:
    """Tell what this service decides by."""
    return JsonResponse(health(mesh))


urlpatterns = [path("payments", take), path("health", well)]

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY=token_urlsafe(),
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["mcp_sdk_django"],
    MIDDLEWARE=["mcp_sdk_django.middleware.MeshMiddleware"],
    MCP_SDK={"SERVICE": "payment", "MODELS": (ORDER, USER), "PRINCIPAL": customer},
)
app = get_wsgi_application()
mesh = get_mesh()
