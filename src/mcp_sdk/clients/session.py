"""What a remote control plane runs in one process: one stream, the publisher, the leases, the last good snapshot."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from mcp_sdk.clients import api
from mcp_sdk.clients.installing import Installer
from mcp_sdk.clients.lastgood import LastGood
from mcp_sdk.clients.replicas import Replicas
from mcp_sdk.clients.snapshots import Trust
from mcp_sdk.clients.stream import AWAY, ClientStream, connected
from mcp_sdk.clients.tapping import Tapping
from mcp_sdk.context import EntityRef, ModelContext, Transition
from mcp_sdk.control.cache import ContextCache
from mcp_sdk.control.fetcher import Fetcher
from mcp_sdk.control.known import Known
from mcp_sdk.control.leases import Leases
from mcp_sdk.control.loop import LoopThread, logger
from mcp_sdk.control.plane import Shared
from mcp_sdk.control.publisher import Backoff, Publisher
from mcp_sdk.control.trial import Tally
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.exceptions import MeshError, StoreError, StoreUnavailable
from mcp_sdk.ports import AppendResult, Applied, Change, Page, Probe, Receipt, SigningKey, Status
from mcp_sdk.protocol.frames import PROTOCOL
from mcp_sdk.protocol.manifests import Envelope
from mcp_sdk.protocol.plain import change_from_plain, each, ref_from_plain
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.tasks import ended

__all__ = ["RemoteSession"]

T = TypeVar("T")
MOST_AWAY = 60.0
"""The most seconds for which a server that goes may send a client away."""
SPREAD = 5.0
"""The most seconds before a client that lost its server comes back: a thousand of them do not come at once."""

OVERTAKEN = 5.0
"""Seconds that a newer manifest may take where a part of this one is in force no longer."""

REPORT = 1.0
"""Seconds between two reports of what was counted of a rollout."""


class RemoteSession:
    """One process's part of a remote control plane. Begins with the first ``begin`` and ends with ``end``."""

    def __init__(self, shared: Shared, urls: Sequence[str], trust: Trust) -> None:
        config = shared.config
        self._shared, self._scope = shared, shared.identity.scope
        self._replicas = Replicas(urls, config)
        self._installer = Installer(shared, trust, LastGood(config.state_dir, ",".join(urls), self._scope))
        self.loop: LoopThread = LoopThread(f"mcp-sdk-{shared.identity.service or 'mesh'}")
        self._known = known = Known(shared, self.loop, self._append, self._lookup, everything=False)
        self.cache: ContextCache = known.cache
        self.publisher: Publisher = known.publisher
        self.fetcher: Fetcher = known.fetcher
        self.tally: Tally = Tally()
        self.begun = False
        self._stream: ClientStream | None = None
        self._first = asyncio.Event()
        self._refusal: Exception | None = None
        self._why = self._doubt = ""
        self._fresh = False
        self._cursor = ""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._leases = Leases(self._register, self._deregister, self._spawn)
        self._tapping = Tapping(self.loop, self._spawn)
        self._after = 0.0

    @property
    def status(self) -> Status:
        """How fresh the policies in force are."""
        if not self._shared.learned:
            return Status.UNAVAILABLE
        return Status.READY if self._fresh else Status.STALE

    @property
    def why(self) -> str:
        """What keeps them from being fresh; empty where nothing does, or is known."""
        return "" if self._fresh else self._doubt or self._why

    def begin(self) -> None:
        """Start the thread and what runs on it; calling it again does nothing."""
        if not self.begun:
            self.begun = True
            self.loop.call(self._start)

    def publish(self, transitions: Sequence[Transition]) -> None:
        """Put transitions on top of the cache, and queue them."""
        self._known.publish(transitions)

    async def first(self) -> None:
        """Wait for the first snapshot, of the server or of the disk; raises what makes waiting for it useless."""
        await self._first.wait()
        if self._refusal is not None:
            raise self._refusal

    async def declare(self) -> None:
        """Tell the server of models that were declared after the beginning."""
        await self.first()
        await self._ask(api.declare(self._scope, self._shared.models))

    async def apply(self, revision: PolicyRevision) -> PolicyRevision:
        """Have the server compile a policy set and put it in force; wait until it is in force here."""
        stored = await self._ask(api.apply(self._scope, revision))
        async with asyncio.timeout(api.COMPILING):
            while self._shared.decider.snapshot.revision < stored.revision:  # noqa: ASYNC110 - installed on a thread
                await asyncio.sleep(0.005)
        return stored

    async def register(self, endpoint: Endpoint, ttl: float) -> None:
        """Announce an endpoint, when the server is back at the latest, and keep its lease until the end."""
        await self._leases.keep(endpoint, ttl)

    async def list(self, model: str, *, state: str | None, id_prefix: str, limit: int, after: str) -> Page:
        """List entities of a model as the server's store holds them."""
        call = api.list_contexts(self._scope, model, state=state, id_prefix=id_prefix, limit=limit, after=after)
        return await self._ask(call)

    async def policies(self, revision: int | None) -> PolicyRevision | None:
        """Look a revision of the policy set up, without its programs."""
        try:
            return await self._ask(api.policies(self._scope, revision))
        except StoreError as error:
            if isinstance(error, StoreUnavailable):
                raise
            return None

    async def policy_history(self, limit: int) -> tuple[PolicyRevision, ...]:
        """Give the revisions that the server's store holds, newest first."""
        return await self._ask(api.policy_history(self._scope, limit))

    async def history(self, ref: EntityRef, limit: int) -> tuple[Applied, ...]:
        """Give the last transitions of an entity."""
        return await self._ask(api.history(self._scope, ref, limit))

    async def forget(self, ref: EntityRef) -> Receipt:
        """Have the server erase an entity, and drop it here."""
        receipt = await self._ask(api.forget(self._scope, ref))
        self.cache.forget(ref)
        return receipt

    async def probe(self) -> Probe:
        """Have the server write a record to its store and take it away."""
        return await self._ask(api.probe())

    def listen(self) -> None:
        """Hear of the transitions of the models in ``Shared.heard`` too."""
        if self._stream is not None:
            self._spawn(self._stream.say("listen", models=sorted(self._shared.heard)))

    async def end(self) -> None:
        """Stop the tasks, take the endpoints away and close the connections."""
        await self._tell_counts()
        await ended(self._tasks)
        await self._leases.end()
        await self._replicas.close()

    def _start(self) -> None:
        if self._installer.recall():
            self._first.set()
        self._spawn(self._run())
        self._spawn(self._report())

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # where it was cancelled before it had begun

    # The stream

    async def _run(self) -> None:
        backoff = Backoff(most=SPREAD)
        while True:
            try:
                async with connected(self._replicas.url, self._shared.config) as stream:
                    await self._greet(stream)
                    async for said in stream:
                        if said["op"] == "welcome":
                            await self._welcomed(stream, said)
                        await self._hear(said)
                        if said["op"] == "manifest":  # from here on this server is one to come back to
                            backoff.reset()
                            self._why = ""
            except Exception as error:  # noqa: BLE001 - the stream must outlive whatever happens to it
                self._lost(error)
            after, self._after = max(backoff.delay(), self._after), 0.0
            await asyncio.sleep(after)

    async def _greet(self, stream: ClientStream) -> None:
        who = self._shared.identity
        await stream.say(
            "hello",
            protocol=[PROTOCOL],
            namespace=who.namespace,
            environment=who.environment,
            service=who.service,
            instance=who.instance,
            evaluation=self._shared.config.evaluation,
            cursor=self._cursor,
            models=sorted(self._shared.heard),
        )

    async def _welcomed(self, stream: ClientStream, said: Mapping[str, Any]) -> None:
        self._stream = stream
        if self._shared.models:
            await _quietly(self._ask(api.declare(self._scope, self._shared.models)))
        if self._shared.config.evaluation == "server":
            self._fresh = self._shared.learned = True
            self._first.set()
        self._refusal = None
        if self._cursor:
            self.cache.clear()  # nobody told what became of these meanwhile
        else:
            self._cursor = str(said["cursor"])
        self.cache.adrift = False

    def _lost(self, error: Exception) -> None:
        self._stream, self._fresh, self._doubt = None, False, ""
        self._shared.decider.trial = None  # who cannot be told that it was stopped does not go on with it
        self.cache.adrift = True
        self._look_away()
        self._replicas.turn()
        if str(error) != self._why:
            logger.warning("the control plane is %s: %s", self.status.value, error or type(error).__name__)
            kind = "store_unavailable" if isinstance(error, StoreError) else "internal_error"
            self._shared.telemetry.dropped("control", kind)
        self._why = str(error)
        if not isinstance(error, StoreUnavailable):
            self._refusal = error
            self._first.set()

    async def _hear(self, said: Mapping[str, Any]) -> None:
        doing = _DOING.get(said["op"])
        if doing is None:
            return
        try:
            await doing(self, said)
        except StoreUnavailable:
            raise
        except api.Overtaken as error:
            self._fresh, self._doubt = False, str(error)
            self._spawn(self._insist(self._stream))
        except MeshError as error:
            self._fresh, self._doubt = False, str(error)
            logger.error("what the control plane said is not believed; what was in force stays: %s", error)
            self._shared.telemetry.dropped("policies", "broken")

    async def _insist(self, stream: ClientStream | None) -> None:
        """Begin anew where no newer manifest comes though there has to be one."""
        await asyncio.sleep(OVERTAKEN)
        if stream is not None and stream is self._stream and not self._fresh:
            await stream.close()

    async def _manifest(self, said: Mapping[str, Any]) -> None:
        self._installer.meet(str(said.get("key", "")))
        envelope = Envelope.from_dict(said.get("envelope"))
        if self._shared.config.evaluation == "server":
            self._installer.obey(envelope)
            self._fresh, self._doubt = True, ""
            return
        parts = await self._installer.take(envelope, said.get("parts") or {}, self._part)
        self._fresh, self._doubt = True, ""
        self._first.set()
        await self._installer.keep(envelope, parts)
        self._shared.tell(Change("policies", _cursor(self), self._scope))

    async def _part(self, wanted: str) -> bytes:
        try:
            return await self._ask(api.part(self._scope, wanted))
        except api.Overtaken:
            raise
        except StoreError as error:  # refused, it is no more here than unanswered: what is in force is asked for again
            raise StoreUnavailable(f"a part of what is in force cannot be had: {error}") from error

    async def _services(self, said: Mapping[str, Any]) -> None:
        self._shared.put_endpoints(each(Endpoint.from_dict, said.get("endpoints", ())))

    async def _keys(self, said: Mapping[str, Any]) -> None:
        self._shared.keys = tuple(each(_key, said.get("keys", ())))
        self._shared.tell(Change("keys", _cursor(self), self._scope))

    async def _change(self, said: Mapping[str, Any]) -> None:
        change = change_from_plain(said)
        self._cursor = change.cursor
        if change.applied is not None:
            self.cache.observe(change.applied)
        elif change.ref is not None:
            self.cache.forget(change.ref)
        self._shared.tell(change)

    async def _released(self, said: Mapping[str, Any]) -> None:
        for ref in each(ref_from_plain, said.get("refs", ())):
            self.cache.release(ref)

    async def _bye(self, said: Mapping[str, Any]) -> None:
        self._after = min(max(float(said.get("after", 0)), 0.0), MOST_AWAY)

    async def _tap(self, said: Mapping[str, Any]) -> None:
        """Show decisions while somebody looks on; a log that nobody taps is as fast as ever."""
        if self._stream is not None and self._tapping.look(self._stream.say, said):
            self._shared.on_tap(self._tapping.show)
        else:
            self._look_away()

    def _look_away(self) -> None:
        self._tapping.stop()
        self._shared.on_tap(None)

    async def _resync(self, said: Mapping[str, Any]) -> None:
        self._cursor = str(said.get("cursor", ""))
        self.cache.clear()
        if self._stream is not None:
            self._stream.abandon("the control plane had too much to say to answer: ask again")
        self._shared.tell(Change("resync", _cursor(self), self._scope))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT)
            await self._tell_counts()

    async def _tell_counts(self) -> None:
        """Tell what was counted of a rollout; what was under way as the stream broke is lost, and never told twice."""
        if self._stream is None or not (counted := self.tally.take()):
            return
        stages = [{"rollout": of, "stage": stage, "counts": one.to_dict()} for (of, stage), one in counted.items()]
        with suppress(Exception):  # the stream is gone: ``_run`` says so
            await self._stream.say("counted", stages=stages)

    # Asking

    async def _ask(self, call: api.Call[T]) -> T:
        return await self._replicas.ask(call)

    async def consult(self, request: DecisionRequest) -> Decision:
        """Have a question decided by the server."""
        if self._stream is None:
            raise StoreUnavailable(AWAY)
        return await self._stream.decide(request)

    async def _append(self, transitions: Sequence[Transition]) -> Sequence[AppendResult]:
        return await self._ask(api.append(transitions))

    async def _lookup(self, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
        if self._stream is None:
            raise StoreUnavailable(AWAY)
        with self.cache.flight(refs) as flight:
            return flight.land(await self._stream.get(refs))

    async def _register(self, endpoint: Endpoint, ttl: float) -> None:
        await self._ask(api.register(self._scope, endpoint, ttl))

    async def _deregister(self, endpoint: Endpoint) -> None:
        await self._ask(api.deregister(self._scope, endpoint))


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except MeshError as error:
        logger.warning("%s", error)


def _cursor(session: RemoteSession) -> Any:
    return session._cursor  # noqa: SLF001 - of this module


def _key(plain: Mapping[str, Any]) -> SigningKey:
    return SigningKey(str(plain["kid"]), base64.b64decode(plain["secret"], validate=True))


_DOING: Mapping[str, Callable[[RemoteSession, Mapping[str, Any]], Coroutine[Any, Any, None]]] = {
    "manifest": RemoteSession._manifest,  # noqa: SLF001 - the table of what a session does
    "services": RemoteSession._services,  # noqa: SLF001
    "keys": RemoteSession._keys,  # noqa: SLF001
    "change": RemoteSession._change,  # noqa: SLF001
    "dropped": RemoteSession._released,  # noqa: SLF001
    "resync": RemoteSession._resync,  # noqa: SLF001
    "tap": RemoteSession._tap,  # noqa: SLF001
    "bye": RemoteSession._bye,  # noqa: SLF001
}
