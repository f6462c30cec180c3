"""A service on it: after ``pip install .``, ``python shop.py journal:orders.jsonl``."""

import sys

from mcp_sdk import BusinessModel, Mesh

ORDER = BusinessModel("order", states=("created", "paid"), attributes={"amount": "decimal"})

with Mesh(service="shop", control_plane=sys.argv[1], models=[ORDER]) as mesh:
    mesh.publish("order", "o-1", state="created", amount="99.50")
    with mesh.entity("order", "o-1") as order:
        order.to("paid")
