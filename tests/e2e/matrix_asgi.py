"""The application of the context matrix: each path works in another way, and answers with the order that it saw."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from mcp_sdk import BusinessModel, Mesh, carried
from mcp_sdk.middleware import MeshMiddleware

mesh = Mesh.from_env(models=[BusinessModel("order", states=("created", "paid"))])
pool = ThreadPoolExecutor(2)
seen_later: dict[str, str] = {}


def order() -> str:
    """Give the order that the work at hand is about."""
    context = mesh.context("order")
    return f"{context.entity_id}:{context.state}" if context is not None else "none"


async def direct(request):
    return PlainTextResponse(order())


def sync(request):
    return PlainTextResponse(order())


async def to_thread(request):
    return PlainTextResponse(await asyncio.to_thread(order))


async def executor(request):
    return PlainTextResponse(await asyncio.get_running_loop().run_in_executor(pool, carried(order)))


async def thread(request):
    found = []
    worker = threading.Thread(target=carried(lambda: found.append(order())))
    worker.start()
    await asyncio.to_thread(worker.join)
    return PlainTextResponse(found[0])


async def task(request):
    async def work():
        await asyncio.sleep(0)
        return order()

    return PlainTextResponse(await asyncio.create_task(work()))


async def stream(request):
    async def parts():
        for _ in range(2):
            await asyncio.sleep(0)
            yield order() + "\n"

    return StreamingResponse(parts())


async def sync_stream(request):
    def parts():
        for _ in range(2):
            yield order() + "\n"

    return StreamingResponse(parts())


async def background(request):
    def later():
        seen_later[request.query_params["key"]] = order()

    return PlainTextResponse("later", background=BackgroundTask(later))


async def later(request):
    return PlainTextResponse(seen_later.get(request.query_params["key"], "not yet"))


async def bound(request):
    """A synchronous callee binds an order, and its caller sees it."""
    await asyncio.to_thread(lambda: mesh.bind("order", "o-bound"))
    return PlainTextResponse(order())


async def websocket(socket):
    await socket.accept()
    for _ in range(2):
        await socket.receive_text()
        await socket.send_text(order())
    await socket.close()


paths = (direct, sync, to_thread, executor, thread, task, stream, sync_stream, background, later, bound)
routes = [Route(f"/{path.__name__}", path) for path in paths]
app = Starlette(routes=[*routes, WebSocketRoute("/websocket", websocket)], lifespan=mesh.lifespan)
app.add_middleware(MeshMiddleware, mesh=mesh)
