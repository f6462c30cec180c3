"""Flask under gunicorn with several forked workers."""

from __future__ import annotations

import pytest

UNPAID = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: paid-only}
spec:
  target: {service: orders, operations: ["POST /orders/{order}/shipment"]}
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


@pytest.fixture
def client(gunicorn):
    return gunicorn("shop:create_app()").client


def test_every_worker_knows_what_another_did(client, stored, apply, mesh):
    """An order that one worker created is known in all, by the path that names it."""
    created = client.post("/orders/o-1").json()
    workers = {created["worker"]}
    for _ in range(200):
        answer = client.get("/orders/o-1", headers={"connection": "close"}).json()
        if answer["worker"] != created["worker"]:
            assert answer["state"] == "created"
        workers.add(answer["worker"])
        if len(workers) == 3:
            break
    assert len(workers) > 1


def test_a_request_is_refused_by_the_state_of_its_entity(client, apply, mesh, stored):
    """Every worker refuses what is unpaid, and lets pass what was paid in another process."""
    apply(UNPAID)
    answers = [client.post("/orders/o-1/shipment", headers={"connection": "close"}) for _ in range(9)]
    assert {answer.status_code for answer in answers} == {403}
    assert answers[0].json()["detail"] == "pay first"
    mesh.publish("order", "o-1", state="paid")
    assert stored("o-1").state == "paid"
    passed = client.post("/orders/o-1/shipment", headers={"x-user": "ann"})
    assert passed.json() == {"verdict": "permit", "who": "ann"}


def test_flask_login_is_the_principal(client, apply):
    """A method's permit goes by the roles of the user that Flask-Login loads; its refusal is the response."""
    apply(UNPAID)
    assert client.post("/orders/refunds", headers={"x-user": "bob"}).status_code == 403
    assert client.post("/orders/refunds").status_code == 403
    allowed = client.post("/orders/refunds", headers={"x-user": "ann", "x-roles": "staff"})
    assert allowed.json() == {"refunded_by": "ann"}


def test_a_stream_keeps_the_record(client, mesh, stored):
    """Every step of a streamed response knows what its request is about."""
    mesh.publish("order", "o-1", state="paid")
    assert stored("o-1").state == "paid"
    assert client.get("/orders/o-1/lines").text == "paid\n" * 3


def test_a_view_that_fails_does_not_move_its_order(client, stored):
    """The exception of a captured view aborts the move and stays Flask's."""
    client.post("/orders/o-1")
    assert client.post("/orders/o-1/payment?fail=1").status_code == 500
    assert client.post("/orders/o-2/payment").status_code == 200


def test_what_a_worker_queued_is_stored_when_it_is_stopped(gunicorn, stored):
    """Gunicorn's own stop lets the workers flush."""
    server = gunicorn("shop:create_app()", MCP_SDK_LINGER="1")
    for number in range(20):
        server.client.post(f"/orders/o-{number}")
    assert server.stop() == 0
    assert [stored(f"o-{number}").state for number in range(20)] == ["created"] * 20
