"""``/v1/stream``: the one WebSocket of a client. Its frames are described in ``mcp_sdk.protocol.frames``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import MeshError, ProtocolError
from mcp_sdk.protocol.frames import CLOSE_REFUSED, LOOKER, MOST_NAME, frame, negotiate, read
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.desk import Desk, caller_of, desk_of
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.keys import first_key
from mcp_sdk.server.questions import thinly
from mcp_sdk.server.streams import Stream, listed, names

__all__ = ["router"]

router = APIRouter()
GOING_AWAY, TRY_AGAIN = 1001, 1013


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """Serve one client until it or the server goes."""
    desk = desk_of(socket)
    try:
        caller = await caller_of(socket)
    except Fault as fault:
        await socket.close(CLOSE_REFUSED, fault.detail[:120])
        return
    await socket.accept()
    try:
        said = await _hello(socket, desk.settings.head_time)
        scope = Scope(_name(said, "namespace"), _name(said, "environment"))
        caller.require(Permission.READ, scope, caller.service)
        signs = caller.may(Permission.PUBLISH, scope, caller.service)
        live = await desk.live(scope)
        looks = said.get("service") == LOOKER and caller.service != LOOKER
        if signs and not looks:
            await first_key(desk, caller, live)
        who = {"service": caller.service or str(said.get("service", ""))[:200], "caller": caller.name}
        still = Permission.PUBLISH if signs else Permission.READ  # one that may publish no more loses the signing keys
        fall = partial(desk.door.fall, caller, still, scope=scope, target=caller.service)
        decider = partial(thinly, desk, caller, scope)
        held = Stream(desk.hub, live, desk.settings, who, signs=signs, decider=decider)
        await _serve(socket, held, said, desk, fall)
    except WebSocketDisconnect:
        return
    except (Fault, MeshError) as error:
        with suppress(RuntimeError):
            code = TRY_AGAIN if isinstance(error, Fault) and error.status in (408, 503) else CLOSE_REFUSED
            await socket.close(code, str(error)[:120])


def _admit(desk: Desk) -> None:
    if desk.hub.streams >= desk.settings.streams:
        raise Fault(503, "too-many-streams", "this replica holds as many streams as it may; try another one")


async def _hello(socket: WebSocket, seconds: float) -> dict[str, Any]:
    try:
        async with asyncio.timeout(seconds):
            said = read(await socket.receive_text())
    except TimeoutError as error:  # this side may be the slow one, so the client may try again
        raise Fault(
            408, "hello-too-slow", f"a stream begins with a frame 'hello'; {seconds:g} s brought none"
        ) from error
    except KeyError as error:
        raise ProtocolError("a stream begins with a frame 'hello'") from error
    if said["op"] != "hello":
        raise ProtocolError(f"a stream begins with a frame 'hello', not {said['op']!r:.40}")
    return said


def _name(said: dict[str, Any], field: str) -> str:
    found = said.get(field, "default")
    if not isinstance(found, str) or len(found) > MOST_NAME:
        raise ProtocolError(f"{field!r} is text of {MOST_NAME} characters at most")
    return found


async def _serve(socket: WebSocket, held: Stream, said: dict[str, Any], desk: Desk, fall: Callable[[], Any]) -> None:
    version, models = negotiate(listed(said, "protocol")), names(said, "models")
    welcome = frame("welcome", protocol=version, cursor=desk.hub.cursor, time=datetime.now(UTC).isoformat())
    thin = said.get("evaluation") == "server"
    try:
        _admit(desk)  # it counts from ``begin`` on: what waits in between would let in too many
        held.begin(str(said.get("cursor") or ""), models, thin=thin)
        await socket.send_text(welcome)
        await _both(_send(socket, held), _receive(socket, held), fall())
    finally:
        held.end()


async def _both(*parts: Any) -> None:
    """Run until the first ends; end the other; raise what ended it."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    try:
        for task in done:
            task.result()
    finally:  # an error holds this frame, and each task its error and what it was about to send: megabytes perhaps
        del task, tasks, done, left


async def _send(socket: WebSocket, held: Stream) -> None:
    while not held.outbox.ended:
        await socket.send_text(await held.outbox.next())
    await socket.close(GOING_AWAY)


async def _receive(socket: WebSocket, held: Stream) -> None:
    while True:
        try:
            await held.answer(read(await socket.receive_text()))
        except KeyError as error:
            raise ProtocolError("frames are text") from error
