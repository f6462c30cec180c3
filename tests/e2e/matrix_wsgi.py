"""The application of the context matrix under a prefork server: each path works in another way."""

import os
import threading

from mcp_sdk import BusinessModel, Mesh, carried
from mcp_sdk.middleware import WSGIMeshMiddleware, decision

mesh = Mesh.from_env(models=[BusinessModel("order", states=("created", "paid"))])


def order() -> str:
    """Give the worker and the order that the work at hand is about."""
    context = mesh.context("order")
    return f"{os.getpid()} {context.entity_id}:{context.state}" if context is not None else f"{os.getpid()} none"


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    assert decision(environ).permitted
    if environ["PATH_INFO"] == "/thread":
        found = []
        worker = threading.Thread(target=carried(lambda: found.append(order())))
        worker.start()
        worker.join()
        return [found[0].encode()]
    if environ["PATH_INFO"] == "/stream":
        return ((order() + "\n").encode() for _ in range(2))
    return [order().encode()]


app = WSGIMeshMiddleware(application, mesh)
