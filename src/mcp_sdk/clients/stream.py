"""One stream to a server, while it lasts: frames out, frames in, and look-ups that are answered by number."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from mcp_sdk.clients.api import tls_context
from mcp_sdk.config import Config
from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.exceptions import MissingExtra, ProtocolError, StoreError, StoreUnavailable
from mcp_sdk.protocol.frames import CLOSE_REFUSED, MOST_ID, MOST_NAME, MOST_REFS, frame, read
from mcp_sdk.protocol.plain import each
from mcp_sdk.protocol.questions import answer_from_plain, plain_question

__all__ = ["ClientStream", "connected"]

Found = Mapping[EntityRef, ModelContext]
FRAME_SIZE = 64 * 1024 * 1024
PORTION = 100_000
"""Characters of the ids that one frame names, about: as bytes of JSON they are a megabyte at the most."""
AWAY = "the control plane is not connected"


class _Fewer(Exception):
    """Entities that were asked for together are more than the server says at once."""


class ClientStream:
    """A stream that is open. Iterate over it for what the server says; look-ups are answered while that goes on."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Mapping[str, Any]]] = {}

    async def say(self, op: str, **members: Any) -> None:
        """Send a frame."""
        await self._socket.send(frame(op, **members))

    async def get(self, refs: Sequence[EntityRef]) -> Found:
        """Look entities up, and hear of their changes from now on; raises ``StoreUnavailable``.

        Callers name entities by whatever their own callers sent: what the server would refuse is not asked for, because
        it would refuse the stream.
        """
        answers = await asyncio.gather(*map(self._get, _portions(refs)))
        return {context.ref: context for contexts in answers for context in contexts}

    async def _get(self, refs: Sequence[EntityRef]) -> Sequence[ModelContext]:
        try:
            said = await self._ask("get", refs=list(map(list, refs)))
        except _Fewer as error:
            middle = len(refs) // 2
            if not middle:
                raise StoreUnavailable(str(error)) from error
            return [*await self._get(refs[:middle]), *await self._get(refs[middle:])]
        return each(ModelContext.from_dict, said.get("contexts", ()))

    async def decide(self, request: DecisionRequest) -> Decision:
        """Have a question decided by the server; raises ``StoreUnavailable`` and ``ProtocolError``."""
        return answer_from_plain((await self._ask("decide", question=plain_question(request))).get("answer"))

    async def _ask(self, op: str, **members: Any) -> Mapping[str, Any]:
        number = next(self._numbers)
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await self.say(op, id=number, **members)
            return await answer
        except (StoreError, _Fewer):
            raise
        except Exception as error:
            raise StoreUnavailable(f"{AWAY}: {type(error).__name__}") from error
        finally:
            self._waiting.pop(number, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """Give the next frame that answers no look-up."""
        while True:
            said = read(await self._socket.recv())
            if said["op"] in ("contexts", "decided"):
                self._answer(said)
            elif said["op"] == "failed":
                self._fail(said)
            else:
                return said

    def _answer(self, said: Mapping[str, Any]) -> None:
        waiting = self._waiting.get(said.get("id", 0))
        if waiting is not None and not waiting.done():
            waiting.set_result(said)

    def _fail(self, said: dict[str, Any]) -> None:
        waiting = self._waiting.get(said.get("id", 0))
        if waiting is not None and not waiting.done():
            kind = _Fewer if said.get("fewer") is True else StoreUnavailable
            waiting.set_exception(kind(str(said.get("detail"))))

    async def close(self) -> None:
        """End it from this side."""
        await self._socket.close()

    def abandon(self, why: str = AWAY) -> None:
        """Fail every look-up that still waits."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(StoreUnavailable(why))


def _portions(refs: Iterable[EntityRef]) -> Iterator[list[EntityRef]]:
    """Give entities that there may be, as many at a time as fit into a frame."""
    portion: list[EntityRef] = []
    size = 0
    for ref in refs:
        if len(ref.model) > MOST_NAME or len(ref.entity_id) > MOST_ID:
            continue
        if portion and (len(portion) == MOST_REFS or size > PORTION):
            yield portion
            portion, size = [], 0
        portion.append(ref)
        size += len(ref.entity_id)
    if portion:
        yield portion


@asynccontextmanager
async def connected(url: str, config: Config) -> AsyncIterator[ClientStream]:
    """Give a stream to the server at ``url``.

    What ends it is raised as ``StoreUnavailable``, or as a ``StoreError`` where trying again will not help.
    """
    try:
        from websockets.asyncio.client import connect  # noqa: PLC0415 - an extra
        from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException  # noqa: PLC0415

        from mcp_sdk.clients.attentive import PING, Attentive  # noqa: PLC0415 - it needs the extra too
    except ModuleNotFoundError as error:
        raise MissingExtra("websockets", extra="client", purpose="a control plane over HTTP") from error
    headers = {"authorization": f"Bearer {config.token}"} if config.token else {}
    place = f"{url.replace('http', 'ws', 1)}/v1/stream"
    options: dict[str, Any] = {"ssl": tls_context(config)} if tls_context(config) else {}
    options |= {"ping_interval": PING, "ping_timeout": None, "create_connection": Attentive}
    try:
        async with connect(
            place, additional_headers=headers, compression=None, max_size=FRAME_SIZE, proxy=None, **options
        ) as socket:
            stream = ClientStream(socket)
            try:
                yield stream
            finally:
                stream.abandon()
    except ConnectionClosed as error:
        if error.rcvd is not None and error.rcvd.code == CLOSE_REFUSED:
            raise StoreError(f"the control plane refused the stream: {error.rcvd.reason}") from error
        raise StoreUnavailable("the control plane closed the stream") from error
    except InvalidStatus as error:
        status = error.response.status_code
        kind = StoreUnavailable if status >= 500 or status == 429 else StoreError
        raise kind(f"the control plane answered {status} to the stream. Is MCP_SDK_TOKEN right?") from error
    except (OSError, WebSocketException, TimeoutError) as error:
        raise StoreUnavailable(f"the control plane at {url} does not answer: {error}") from error
    except ProtocolError as error:
        raise StoreUnavailable(f"the control plane said what cannot be read: {error}") from error
