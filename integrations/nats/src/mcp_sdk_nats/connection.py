"""One connection to NATS: requests with a bound on their time, subscriptions, and the moment that it is lost.

It never reconnects by itself. Whoever needs one opens another, so that nothing is sent twice behind a caller's back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, MaxPayloadError

from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk_nats import failures
from mcp_sdk_nats.address import Address

__all__ = ["Connection"]

CONNECT = 3.0
ANSWER = 5.0
CLOSE = 2.0
PING = 10
NO_RESPONDERS = "503"


class Connection:
    """An open connection. ``lost`` is called once, when it ends in any way but ``close``."""

    def __init__(self, address: Address, lost: Callable[[], None]) -> None:
        self._address = address
        self._lost = lost
        self._client = Client()
        self._why: BaseException | None = None
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._numbers = count()
        self._inbox = ""
        self._ending: asyncio.Task[None] | None = None
        self.alive = False

    @property
    def hosts(self) -> str:
        """The servers, as they may be shown."""
        return self._address.hosts

    @property
    def max_payload(self) -> int:
        """The most bytes that the server takes in one message, headers included."""
        return self._client.max_payload

    async def open(self) -> None:
        """Connect; raises ``StoreUnavailable``."""
        try:
            async with asyncio.timeout(CONNECT):
                await self._connect()
        except (OSError, Error, TimeoutError) as error:
            await self._abort()
            why = self._why if self._why is not None else error
            raise failures.unreachable(why, self.hosts) from None
        except BaseException:
            await self._abort()
            raise
        self.alive = True
        self._inbox = self._client.new_inbox()
        await self.listen(f"{self._inbox}.*", self._answered)

    async def _connect(self) -> None:
        address = self._address
        await self._client.connect(
            list(address.servers),
            name=f"mcp-sdk {address.name}",
            user=address.user,
            password=address.password,
            token=address.token,
            user_credentials=address.credentials,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=2,
            ping_interval=PING,
            max_outstanding_pings=2,
            error_cb=self._failed,
            closed_cb=self._closed,
            disconnected_cb=self._closed,
        )

    async def _failed(self, error: Exception) -> None:
        self._why = error

    async def _closed(self, why: StoreError | None = None) -> None:
        if self.alive:
            self.alive = False
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(why or self._gone())
            self._lost()

    def _gone(self) -> StoreUnavailable:
        return StoreUnavailable(f"the connection to NATS at {self.hosts} was lost; it is made again when it is needed.")

    async def _abort(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(CLOSE):
                await self._client.close()

    async def _give_up(self) -> None:
        # The client does not always say that its connection ended, and a server that hangs never does.
        await self._closed()
        self._ending = asyncio.create_task(self._abort())

    async def close(self, why: StoreError | None = None) -> None:
        """End the connection; who waits for an answer gets ``why``, or ``StoreUnavailable`` where there is none."""
        lost, self._lost = self._lost, lambda: None
        await self._closed(why)
        self._lost = lost
        await self._abort()

    async def listen(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Have every message of a subject told, one after another; the returned function ends that."""
        subscription = await self._client.subscribe(subject, cb=callback, pending_msgs_limit=0, pending_bytes_limit=0)

        async def end() -> None:
            with suppress(Error):
                await subscription.unsubscribe()

        return end

    def inbox(self) -> str:
        """Give a subject that nobody else listens on."""
        return self._client.new_inbox()

    async def until(self, event: asyncio.Event) -> None:
        """Wait for an event that an answer will set; raises ``StoreUnavailable`` when none comes in time."""
        try:
            async with asyncio.timeout(ANSWER):
                await event.wait()
        except TimeoutError:
            raise StoreUnavailable(f"NATS at {self.hosts} gave no answer in {ANSWER:g} seconds.") from None

    async def tell(self, subject: str, payload: bytes = b"", *, reply: str = "") -> None:
        """Send without waiting for an answer."""
        with suppress(Error):
            await self._client.publish(subject, payload, reply=reply)

    async def ask(self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None) -> Msg:
        """Send, and give the answer.

        Raises ``StoreUnavailable`` when none comes in time, when nobody listens, and when the connection is lost.
        """
        if not self.alive:
            raise self._gone()
        token = str(next(self._numbers))
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        try:
            sent = dict(headers) if headers else None
            await self._client.publish(subject, payload, reply=f"{self._inbox}.{token}", headers=sent)
            async with asyncio.timeout(ANSWER):
                return await future
        except TimeoutError:
            await self._give_up()
            raise StoreUnavailable(f"NATS at {self.hosts} gave no answer in {ANSWER:g} seconds.") from None
        except MaxPayloadError:
            raise StoreError(self._too_large(len(payload))) from None
        except Error:
            await self._give_up()
            raise self._gone() from None
        finally:
            del self._waiting[token]

    def _too_large(self, size: int) -> str:
        return (
            f"a message of {size} bytes is more than NATS at {self.hosts} takes ({self.max_payload}). Raise its "
            "max_payload, or publish less in one batch."
        )

    async def _answered(self, message: Msg) -> None:
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is None or future.done():
            return
        if message.headers and message.headers.get("Status") == NO_RESPONDERS and not message.data:
            future.set_exception(failures.no_stream(self.hosts))
        else:
            future.set_result(message)
