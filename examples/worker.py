"""A script without a framework: it moves orders, decides by policy, and explains.

python examples/worker.py
"""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from queue import Queue
from tempfile import TemporaryDirectory

from mcp_sdk import BusinessModel, DecisionRequest, EntityRef, Mesh, Principal, Refused, Transition, model_context
from mcp_sdk.middleware import identify
from mcp_sdk.permits import requires_permit
from mcp_sdk.policy import compile_policies
from mcp_sdk.snapshot import PolicyRevision

ORDER = BusinessModel("order", states=("created", "paid", "refunded"), attributes={"amount": "decimal"})
POLICIES = """\
kind: AccessPolicy
metadata: {name: refunds}
spec:
  target: {service: worker, operations: [refund]}
  default: deny
  rules:
  - {name: small, when: order.state == 'paid' && order.amount <= 100, effect: permit}
  - {name: clerk, when: order.state == 'paid' && 'clerk' in principal.roles, effect: permit}
"""


@requires_permit("refund")
@model_context(model="order", state="refunded")
def refund(order: str) -> str:
    """Pay the customer back."""
    return f"{order} is refunded"


def attempt(order: str) -> str:
    """Refund an order, or say why not."""
    try:
        return refund(order)
    except Refused as refusal:
        return f"{order} stays paid: {refusal}"


def elsewhere(url: str) -> None:
    """Be another process, which pays an order."""
    with Mesh(service="shop", control_plane=url, models=[ORDER]) as shop:
        shop.publish("order", "o-3", state="paid", amount=Decimal("5.00"))


def main(url: str) -> None:
    """Do a worker's day."""
    heard: Queue[str] = Queue()
    mesh = Mesh(service="worker", control_plane=url, models=[ORDER], fetch_timeout=1.0)

    @mesh.on_transition("order", to="paid")
    def tell(event: Transition) -> None:
        heard.put(f"{event.source} says that {event.entity_id} is paid")

    with mesh:
        plane = mesh.control_plane
        plane.apply(PolicyRevision(0, compile_policies({"refunds.yaml": POLICIES}, mesh.models))).result(5)
        for number, amount in (("o-1", "20.00"), ("o-2", "2000.00")):
            mesh.publish("order", number, state="paid", amount=Decimal(amount))
            print(heard.get(timeout=10))
        print(attempt("o-1"))
        print(attempt("o-2"))
        identify(Principal(id="ada", authenticated=True, roles=("clerk",)))
        print(attempt("o-2"))
        subprocess.run([sys.executable, __file__, url], check=True)
        print(heard.get(timeout=10))
        found = plane.fetch([EntityRef("order", number) for number in ("o-1", "o-2", "o-3")]).result(5)
        print({ref.entity_id: context.state for ref, context in found.items()})
        asked = DecisionRequest("worker", "refund", contexts={"order": found[EntityRef("order", "o-3")]})
        print(mesh.decide(asked).sentence())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        elsewhere(sys.argv[1])
    else:
        with TemporaryDirectory() as folder:
            main(f"sqlite:///{folder}/mesh.db")
