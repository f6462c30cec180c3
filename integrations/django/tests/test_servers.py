"""One Django project under WSGI (gunicorn, three workers) and ASGI (uvicorn)."""

from __future__ import annotations

import zlib

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from operating import stored_in

POLICIES = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: paid-only}
spec:
  target: {service: orders, operations: ["GET /orders/{order}/shipment", "GET /orders/{order}/ashipment"]}
  default: permit
  rules:
  - {name: unpaid, when: "!has(order.state) || order.state != 'paid'", effect: deny, reason: pay first}
---
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: staff-only}
spec:
  target: {service: orders, operations: ["orders.refund"]}
  default: deny
  rules:
  - {name: staff, when: "'staff' in principal.roles", effect: permit}
"""


@pytest.fixture(scope="module", autouse=True)
def policies(apply):
    apply(POLICIES)


@pytest.fixture
def number(request):
    """Give an order that no other test knows."""
    return "o-" + str(zlib.crc32(request.node.name.encode()))


@pytest.mark.parametrize("path", ["shipment", "ashipment"])
def test_a_request_is_refused_by_the_state_of_its_entity(client, operator, path, number):
    """Synchronous and asynchronous views alike are behind the policy on the order that their URL names."""
    refused = client.get(f"/orders/{number}/{path}")
    assert (refused.status_code, refused.json()["detail"]) == (403, "pay first")
    assert refused.headers["content-type"] == "application/problem+json"
    operator.publish("order", number, state="paid")
    assert stored_in(operator, number).state == "paid"
    passed = client.get(f"/orders/{number}/{path}").json()
    assert (passed["state"], passed["verdict"]) == ("paid", "permit")


@pytest.mark.parametrize("path", ["lines", "alines"])
def test_a_stream_keeps_the_record(client, operator, path, number):
    """Every step of a streamed response knows what its request is about, synchronous or not."""
    operator.publish("order", number, state="paid")
    assert stored_in(operator, number).state == "paid"
    assert client.get(f"/orders/{number}/{path}").text == "paid\n" * 3


@pytest.mark.parametrize("path", ["payment", "apayment"])
def test_a_transition_waits_for_the_commit(client, operator, path, number):
    """What a view's transaction committed is published, and what it rolled back is not."""
    failed = client.get(f"/orders/{number}/{path}?fail=1")
    assert failed.json() == {"inside": "rolled back", "after": "unknown"}
    assert client.get(f"/orders/{number}/{path}").json() == {"inside": "paid", "after": "paid"}
    assert any((context := stored_in(operator, number)) is not None for _ in range(10_000))
    assert (context.state, context.revision) == ("paid", 1)


@pytest.mark.parametrize("path", ["refunds", "arefunds"])
def test_the_user_who_is_logged_in_is_the_principal(client, path):
    """A permit goes by ``request.user``: nobody is refused, and so is a user who is not staff."""
    assert client.get(f"/{path}").status_code == 403
    assert client.get(f"/{path}", headers=_logged_in("bob")).status_code == 403
    allowed = client.get(f"/{path}", headers=_logged_in("ann", is_staff=True))
    assert allowed.text == str(User.objects.get(username="ann").pk)


def _logged_in(name, **flags):
    user, _ = User.objects.get_or_create(username=name, defaults=flags)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return {"cookie": f"sessionid={session.session_key}"}
