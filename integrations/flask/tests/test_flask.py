"""The extension, without a server."""

from __future__ import annotations

import warnings

import pytest
from flask import Blueprint, Flask
from mcp_sdk_flask import MeshFlask, check_routes, context, current_decision, current_principal
from mcp_sdk_flask.routes import operations

from mcp_sdk import current, model_context

from . import shop


def _walk(app, mesh):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_routes(app, mesh)
    return [str(warning.message) for warning in caught]


def test_rules_become_operations(mesh):
    """Blueprints' prefixes and converters are written as policies write them."""
    assert _walk(shop.create_app(mesh), mesh) == []
    operations = {pattern.text for pattern in mesh.operations}
    assert {"GET /orders/{order}", "POST /orders/{order}/payment", "GET /static/**"} <= operations


@pytest.mark.parametrize(("method", "path"), [("GET", "//orders/o-1"), ("GET", "orders/o-1"), ("get", "/orders/o-1")])
def test_what_werkzeug_serves_is_what_was_decided_on(mesh, method, path):
    """It reads a path from one slash on, and methods in either case."""
    app = Flask(__name__)
    app.add_url_rule("/orders/<order>", view_func=lambda order: str(current.record().call.operation))
    MeshFlask(mesh, app)
    answer = app.test_client().open("/", method=method, environ_overrides={"PATH_INFO": path})
    assert answer.text == "GET /orders/o-1"


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("/", "/"),
        ("/orders/<order>/", "/orders/{order}/"),
        ("/orders/<int(min=1):order_id>/lines", "/orders/{order_id}/lines"),
        ("/files/<path:name>/raw", "/files/**"),
        ("/<any(new, old):kind>/<uuid:order>", "/{kind}/{order}"),
    ],
)
def test_templates(rule, path):
    """Converters are no part of an operation, and one that takes slashes stands for the rest."""
    app = Flask(__name__, static_folder=None)
    app.add_url_rule(rule, view_func=shop.create_app, methods=["PUT"], provide_automatic_options=False)
    assert list(operations(app)) == [(f"PUT {path}", shop.create_app)]


def test_rules_that_are_no_operation_are_left_out(mesh):
    """A segment of two variables names no entity, and the application works all the same."""
    app = Flask(__name__)
    app.add_url_rule("/<a>-<b>", view_func=lambda a, b: a)
    assert _walk(app, mesh) == []


def test_a_capture_above_the_route_is_reported(mesh):
    """The view that captures nothing is named with its place."""
    app, sales = Flask(__name__), Blueprint("sales", __name__)

    @model_context(model="order", state="created")
    @sales.post("/lost")
    def lost():
        """Be registered before it is captured."""

    app.register_blueprint(sales)
    [message] = _walk(app, mesh)
    assert message.startswith(f"{__file__}:")
    assert "lost" in message


def test_routes_registered_after_init_app_count(mesh):
    """The walk comes before the first request, not at ``init_app``."""
    app = Flask(__name__)
    MeshFlask(mesh, app)
    app.add_url_rule("/late/<order>", view_func=lambda order: order)
    assert app.test_client().get("/late/o-1").text == "o-1"
    assert app.test_client().get("/late/o-2").text == "o-2"
    assert [pattern.text for pattern in mesh.operations].count("GET /late/{order}") == 1


def test_nothing_is_left_after_a_request(mesh):
    """The record ends with the request, and outside any there is nothing."""
    app = shop.create_app(mesh)
    assert app.test_client().get("/orders/o-1").json["state"] == "unknown"
    assert current.record() is None
    assert (context("order"), bool(current_decision), current_principal.authenticated) == (None, False, False)
