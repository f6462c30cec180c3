"""The two streams of a mesh, by JetStream's own API.

``NAME`` is the log: every change, in the one order that its sequence gives. ``NAME_state`` holds, by key, what belongs
beside it: leases, replacements of messages that were erased, large bodies, checkpoints. It is shaped as a key-value
bucket, but is none: buckets forbid the erasing of a single message, and personal data must be erasable.

A stream's subjects carry the identity that it was created with. So nothing can be published to a stream that was
emptied and made anew, whatever its sequence: there is no such subject any more.

https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg

from mcp_sdk_nats import failures
from mcp_sdk_nats.address import Address
from mcp_sdk_nats.connection import Connection
from mcp_sdk_nats.failures import Missing

__all__ = ["Raw", "Streams"]

API = "$JS.API"
LOST_AFTER = 30.0
ROLLUP = "Nats-Rollup"
EXPECT_LAST = "Nats-Expected-Last-Sequence"
EXPECT_LAST_OF_KEY = "Nats-Expected-Last-Subject-Sequence"


@dataclass(frozen=True, slots=True)
class Raw:
    """A message as a stream holds it: ``kind`` is the end of its subject, ``at`` the server's clock."""

    sequence: int
    kind: str
    body: bytes
    at: float = 0.0


class Streams:
    """The log and the state of one mesh, over one connection."""

    def __init__(self, connection: Connection, address: Address) -> None:
        self._connection = connection
        self._log, self._state = address.name, f"{address.name}_state"
        self._replicas = address.replicas
        self.identity = ""

    @property
    def room(self) -> int:
        """The most bytes that one body may have."""
        return self._connection.max_payload - 512

    async def prepare(self) -> int:
        """Create what is missing; give the log's last sequence, and let ``identity`` be the log's."""
        while True:
            try:
                self.identity, last = await self.end()
            except Missing:
                await self._create(self._log, f"{self._log}.{uuid.uuid4().hex}.*", {"discard": "new"})
                continue
            await self._create(self._state, f"{self._state}.>", {"discard": "new", "allow_rollup_hdrs": True})
            return last

    async def _create(self, stream: str, subjects: str, more: Mapping[str, Any]) -> None:
        config = {
            "name": stream,
            "subjects": [subjects],
            "retention": "limits",
            "storage": "file",
            "num_replicas": self._replicas,
            "max_consumers": -1,
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "max_bytes": -1,
            **more,
        }
        try:
            await self._call(f"STREAM.INFO.{stream}", {})
        except Missing:
            await self._call(f"STREAM.CREATE.{stream}", config, tolerated=(10058,))

    async def end(self) -> tuple[str, int]:
        """Give identity and last sequence of the log that is there now, as its leader knows it. Raises ``Missing``."""
        info = await self._call(f"STREAM.INFO.{self._log}", {})
        return str(info["config"]["subjects"][0]).split(".")[1], int(info["state"]["last_seq"])

    async def publish(self, kind: str, body: bytes, *, after: int) -> int:
        """Append to the log if its last sequence is ``after``; give the new one. Raises ``Behind``."""
        headers = {EXPECT_LAST: str(after)}
        return await self._publish(f"{self._log}.{self.identity}.{kind}", body, headers)

    async def _publish(self, subject: str, body: bytes, headers: Mapping[str, str]) -> int:
        answer = await self._connection.ask(subject, body, headers)
        told = json.loads(answer.data)
        if "error" in told:
            raise failures.refusal(told["error"], self._connection.hosts)
        return int(told["seq"])

    async def get(self, sequence: int) -> Raw | None:
        """Give one message of the log, or None when it was erased."""
        return await self._get(self._log, {"seq": sequence})

    async def _get(self, stream: str, which: Mapping[str, Any]) -> Raw | None:
        try:
            found = (await self._call(f"STREAM.MSG.GET.{stream}", which))["message"]
        except Missing:
            return None
        body = base64.b64decode(found.get("data", ""))
        return Raw(found["seq"], found["subject"].rpartition(".")[2], body, _seconds(found["time"]))

    async def erase(self, sequence: int) -> None:
        """Overwrite a message of the log; one that is gone already is no error."""
        await self._erase(self._log, sequence)

    async def _erase(self, stream: str, sequence: int) -> None:
        try:
            await self._call(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": False})
        except Missing:
            return

    async def look(self, key: str) -> Raw | None:
        """Give what the state holds under a key."""
        return await self._get(self._state, {"last_by_subj": self._key(key)})

    async def put(self, key: str, body: bytes, *, after: int | None = None, only: bool = False) -> int:
        """Write a key of the state, if ``after`` is the sequence of what it holds (0: nothing). Raises ``Behind``.

        ``only`` lets go of what the key held before, without overwriting it.
        """
        headers = {} if after is None else {EXPECT_LAST_OF_KEY: str(after)}
        if only:
            headers[ROLLUP] = "sub"
        return await self._publish(self._key(key), body, headers)

    async def clear(self, key: str, *, before: int = 2**63) -> None:
        """Overwrite all that a key held before a sequence of the state."""
        while True:
            found = await self._get(self._state, {"seq": 1, "next_by_subj": self._key(key)})
            if found is None or found.sequence >= before:
                return
            await self._erase(self._state, found.sequence)

    def _key(self, key: str) -> str:
        return f"{self._state}.{self.identity}.{key}"

    async def page(self, start: int, count: int, *, kind: str = "*") -> list[Raw]:
        """Give the ``count`` messages from a sequence on, fewer where there are not so many, in order."""
        config = self._config(start, kind)
        inbox, found, done = f"{self._connection.inbox()}", list[Raw](), asyncio.Event()

        async def hear(message: Msg) -> None:
            if message.headers and message.headers.get("Status"):
                done.set()
                return
            found.append(_raw(message))
            if len(found) == count:
                done.set()

        end = await self._connection.listen(inbox, hear)
        try:
            made = await self._consumer({**config, "inactive_threshold": int(LOST_AFTER * 1e9)})
            wanted = json.dumps({"batch": count, "no_wait": True}).encode()
            await self._connection.tell(f"{API}.CONSUMER.MSG.NEXT.{self._log}.{made['name']}", wanted, reply=inbox)
            await self._connection.until(done)
            await self._call(f"CONSUMER.DELETE.{self._log}.{made['name']}", {})
        finally:
            await end()
        return found

    async def follow(self, start: int, hear: Callable[[Raw], Awaitable[None]]) -> float:
        """Have every message from a sequence on told, in order, as long as the connection lasts.

        The server waits for us when we are slow, by its flow control. Gives what to add to ``time.monotonic`` for the
        server's seconds since the epoch: it says when it made the consumer.
        """
        inbox = self._connection.inbox()

        async def told(message: Msg) -> None:
            if message.headers and (status := message.headers.get("Status")):
                stalled = message.headers.get("Nats-Consumer-Stalled", "")
                if status == "100" and (message.reply or stalled):
                    await self._connection.tell(message.reply or stalled)
                return
            await hear(_raw(message))

        await self._connection.listen(inbox, told)
        flow = {"deliver_subject": inbox, "flow_control": True, "idle_heartbeat": int(5e9)}
        before = time.monotonic()
        made = await self._consumer({**self._config(start, "*"), **flow})
        return _seconds(made["created"]) - (before + time.monotonic()) / 2

    def _config(self, start: int, kind: str) -> dict[str, Any]:
        config: dict[str, Any] = {
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(start, 1),
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
        }
        if kind != "*":
            config["filter_subject"] = f"{self._log}.{self.identity}.{kind}"
        return config

    async def _consumer(self, config: Mapping[str, Any]) -> dict[str, Any]:
        asked = {"stream_name": self._log, "config": dict(config)}
        return await self._call(f"CONSUMER.CREATE.{self._log}", asked)

    async def _call(self, verb: str, asked: Mapping[str, Any], *, tolerated: tuple[int, ...] = ()) -> dict[str, Any]:
        answer = await self._connection.ask(f"{API}.{verb}", json.dumps(asked).encode() if asked else b"")
        told: dict[str, Any] = json.loads(answer.data)
        error = told.get("error")
        if error and error.get("err_code") not in tolerated:
            raise failures.refusal(error, self._connection.hosts)
        return told


def _raw(message: Msg) -> Raw:
    # $JS.ACK.[domain.account.]stream.consumer.delivered.sequence.consumer-sequence.time.pending[.token]
    tokens = message.reply.split(".")
    offset = 5 if len(tokens) == 9 else 7
    return Raw(int(tokens[offset]), message.subject.rpartition(".")[2], message.data, int(tokens[offset + 2]) / 1e9)


def _seconds(text: str) -> float:
    whole, _, rest = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{rest or 0}")
