"""The payment service: a Django project in one file."""

from __future__ import annotations

import json
from secrets import token_urlsafe

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from mcp_sdk import Mesh
from mcp_sdk.middleware import WSGIMeshMiddleware
from mcp_sdk_demo.shop.business import ORDER, USER, customers, health

mesh = Mesh.from_env(service="payment", models=(ORDER, USER))


def take(request: HttpRequest) -> JsonResponse:
    """Take a payment."""
    approved = json.loads(request.body)["card"] != "stolen"
    return JsonResponse({"approved": approved}, headers={"X-Served-By": mesh.identity.instance})


def well(_: HttpRequest) -> JsonResponse:
    """Tell what this service decides by."""
    return JsonResponse(health(mesh))


urlpatterns = [path("payments", take), path("health", well)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=token_urlsafe(), MIDDLEWARE=[])
app = WSGIMeshMiddleware(get_wsgi_application(), mesh, principal=customers())
