"""A shop as a user writes it: an application factory, a blueprint, Flask-Login. Run by gunicorn, and by the tests."""

from __future__ import annotations

import os

from flask import Blueprint, Flask, Response, request
from flask_login import LoginManager, UserMixin
from mcp_sdk_flask import MeshFlask, context, current_decision, current_principal

from mcp_sdk import BusinessModel, Mesh, model_context
from mcp_sdk.permits import requires_permit

ORDER = BusinessModel("order", key="number", states=("created", "paid"), attributes={"amount": "decimal"})
orders = Blueprint("orders", __name__, url_prefix="/orders")


class User(UserMixin):
    def __init__(self, name: str, *roles: str) -> None:
        self.id, self.roles = name, roles


def _state() -> str:
    held = context("order")
    return held.state if held is not None and held.state is not None else "unknown"


@orders.get("/<string:order>")
def read(order: str):
    return {"order": order, "state": _state(), "worker": os.getpid()}


@orders.post("/<order>")
@model_context(model="order", state="created")
def create(order: str):
    return {"order": order, "worker": os.getpid()}


@orders.post("/<order>/payment")
@model_context(model="order", state="paid")
def pay(order: str):
    if request.args.get("fail"):
        raise RuntimeError("the bank is away")
    return {"order": order}


@orders.post("/<order>/shipment")
def ship(order: str):
    return {"verdict": current_decision.verdict.name, "who": current_principal.id}


@orders.get("/<order>/lines")
def lines(order: str):
    def stream():
        for _ in range(3):
            yield _state() + "\n"

    return Response(stream(), mimetype="text/plain")


@orders.post("/refunds")
def refund():
    _refund()
    return {"refunded_by": current_principal.id}


@requires_permit("orders.refund")
def _refund() -> None:
    """Be permitted."""


def create_app(mesh: Mesh | None = None) -> Flask:
    """Give the application; the mesh from the environment unless given."""
    app = Flask(__name__)
    app.secret_key = "of the tests"
    mesh = mesh or Mesh.from_env(service="orders", models=[ORDER], fetch_timeout=5.0)
    MeshFlask(mesh).init_app(app)
    login = LoginManager(app)
    login.request_loader(_load_user)
    app.register_blueprint(orders)
    return app


def _load_user(incoming):
    name = incoming.headers.get("x-user")
    return User(name, *incoming.headers.get("x-roles", "").split()) if name else None
