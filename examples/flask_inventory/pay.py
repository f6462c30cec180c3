"""Another process pays an order: ``python pay.py NUMBER ITEMS``."""

import sys

from mcp_sdk import BusinessModel, Mesh

ORDER = BusinessModel("order", states=("created", "paid"), attributes={"items": "int"})

with Mesh.from_env(service="payment", models=[ORDER]) as mesh:
    mesh.publish("order", sys.argv[1], state="paid", items=int(sys.argv[2]))
