"""What a remote control plane runs in one process: one stream, the publisher, the leases, the last good snapshot."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from mcp_sdk.clients import api
from mcp_sdk.clients.lastgood import LastGood
from mcp_sdk.clients.replicas import Replicas
from mcp_sdk.clients.snapshots import Trust, candidate_of, check_part, snapshot_of
from mcp_sdk.clients.stream import AWAY, ClientStream, connected
from mcp_sdk.clients.tapping import Tapping
from mcp_sdk.context import EntityRef, ModelContext, Transition
from mcp_sdk.control.cache import ContextCache
from mcp_sdk.control.fetcher import Fetcher
from mcp_sdk.control.loop import LoopThread, logger
from mcp_sdk.control.plane import Shared
from mcp_sdk.control.publisher import Backoff, Hooks, Publisher, PublisherOptions
from mcp_sdk.control.trial import Tally, Trial
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.exceptions import MeshError, ProtocolError, StoreError, StoreUnavailable
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import AppendResult, Applied, Change, Page, Probe, Receipt, SigningKey, Status
from mcp_sdk.protocol.frames import PROTOCOL
from mcp_sdk.protocol.manifests import Envelope, Manifest, digest
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

REPORT = 1.0
"""Seconds between two reports of what was counted of a rollout."""
LARGE = 131_072
"""Bytes of parts that are read on a thread, for they would hold the loop up; smaller ones are read in less time."""


class RemoteSession:
    """One process's part of a remote control plane. Begins with the first ``begin`` and ends with ``end``."""

    def __init__(self, shared: Shared, urls: Sequence[str], trust: Trust) -> None:
        config = shared.config
        self._shared, self._trust = shared, trust
        self._scope = shared.identity.scope
        self._replicas = Replicas(urls, config)
        self._disk = LastGood(config.state_dir, ",".join(urls), self._scope)
        self.loop: LoopThread = LoopThread(f"mcp-sdk-{shared.identity.service or 'mesh'}")
        self.cache: ContextCache = ContextCache(everything=False)
        self.publisher: Publisher = Publisher(
            self._append,
            Hooks(self._settled, self._dropped, self.cache.based),
            loop=self.loop,
            options=PublisherOptions(config.queue_size, config.batch_size, config.linger),
        )
        self.fetcher: Fetcher = Fetcher(self._lookup)
        self.tally: Tally = Tally()
        self.begun = False
        self._stream: ClientStream | None = None
        self._first = asyncio.Event()
        self._refusal: Exception | None = None
        self._why = ""
        self._fresh = False
        self._cursor = ""
        self._parts: dict[str, bytes] = {}
        self._models: tuple[bytes | None, Mapping[str, BusinessModel]] = (None, {})
        self._tasks: set[asyncio.Task[Any]] = set()
        self._registered: dict[tuple[str, str], Endpoint] = {}
        self._putting = asyncio.Lock()
        self._tapping = Tapping(self.loop, self._spawn)
        self._after = 0.0

    @property
    def status(self) -> Status:
        """How fresh the policies in force are."""
        if not self._shared.learned:
            return Status.UNAVAILABLE
        return Status.READY if self._fresh else Status.STALE

    def begin(self) -> None:
        """Start the thread and what runs on it; calling it again does nothing."""
        if not self.begun:
            self.begun = True
            self.loop.call(self._start)

    def publish(self, transitions: Sequence[Transition]) -> None:
        """Put transitions on top of the cache, and queue them."""
        for transition in transitions:
            if (transition.namespace, transition.environment) == self._scope:
                self.cache.push(transition)
        self.publisher.publish(transitions)

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
        async with asyncio.timeout(self._shared.config.start_timeout):
            while self._shared.decider.snapshot.revision < stored.revision:  # noqa: ASYNC110 - installed on a thread
                await asyncio.sleep(0.005)
        return stored

    async def register(self, endpoint: Endpoint, ttl: float) -> None:
        """Announce an endpoint, when the server is back at the latest, and keep its lease until the end."""
        key, backoff = (endpoint.service, endpoint.url), Backoff()
        renewed = key in self._registered
        self._registered[key] = endpoint
        while not await self._announce(endpoint, ttl):  # noqa: ASYNC110 - the server, not an event, is waited for
            await asyncio.sleep(backoff.delay())
        if not renewed:
            self._spawn(self._renew(key, ttl))

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
        for endpoint in self._registered.values():
            try:
                await self._ask(api.deregister(self._scope, endpoint))
            except StoreError as error:
                logger.warning("%s stays registered until its lease runs out: %s", endpoint.url, error)
        await self._replicas.close()

    def _start(self) -> None:
        self._recall()
        self._spawn(self._run())
        self._spawn(self._report())

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # where it was cancelled before it had begun

    # The snapshot

    def _recall(self) -> None:
        """Begin with the last good snapshot of the disk, if there is one that is to be believed."""
        try:
            found = self._disk.read()
            if found is not None:
                key, envelope, parts = found
                self._trust.learn(key)
                manifest = self._trust.manifest(envelope, self._scope, self._shared.identity.mesh)
                # a candidate may have been stopped since: nobody is here to say so
                self._install(replace(manifest, candidate=None), parts)
                self._first.set()
        except MeshError as error:
            logger.warning("the last good snapshot is not used: %s", error)

    def _install(self, manifest: Manifest, parts: Mapping[str, bytes]) -> None:
        decider = self._shared.decider
        if manifest.order < decider.snapshot.order:
            raise ProtocolError(
                f"revision {manifest.order} was offered and {decider.snapshot.order} is in force: snapshots never go "
                "back. After a restore from a backup an operator says: mcpctl epoch open"
            )
        held = self._parts.get("policies")
        if manifest.order == decider.snapshot.order and held is not None and held != parts.get("policies"):
            raise ProtocolError(
                f"revision {manifest.order} was offered with other policies than it has here: the store was set back "
                "and went on from there. An operator says which history holds: mcpctl epoch open"
            )
        held, models = self._models
        snapshot = snapshot_of(manifest, parts, models if held is not None and parts.get("models") is held else None)
        self._models = (parts.get("models"), snapshot.models)
        if decider.newer(snapshot):
            decider.install(snapshot, decider.build(snapshot))
        decider.trial = self._trial(manifest, parts)
        self._parts, self._shared.learned = dict(parts), True
        self._shared.override = manifest.overrides.get(self._shared.identity.service)

    def _trial(self, manifest: Manifest, parts: Mapping[str, bytes]) -> Trial | None:
        """Give the trial of a manifest's candidate; one that cannot be loaded here decides nothing here."""
        if manifest.candidate is None:
            return None
        try:
            return self._shared.decider.try_out(manifest.candidate, candidate_of(manifest, parts))
        except MeshError as error:
            logger.warning("the candidate of the rollout %s cannot be loaded: %s", manifest.candidate.id, error)
            return None

    async def _take(self, envelope: Envelope, sent: Mapping[str, Any]) -> None:
        """Put what a manifest names in force, and keep it; what is not to be believed changes nothing."""
        async with self._putting:
            manifest = self._trust.manifest(envelope, self._scope, self._shared.identity.mesh)
            parts = {name: await self._part(name, manifest, sent.get(name)) for name in manifest.parts}
            if sum(map(len, parts.values())) > LARGE:
                await asyncio.to_thread(self._install, manifest, parts)
            else:
                self._install(manifest, parts)
            self._fresh = True
            self._first.set()
            if self._disk.path is not None:
                await self._keep(envelope, parts)

    async def _keep(self, envelope: Envelope, parts: Mapping[str, bytes]) -> None:
        try:
            await asyncio.to_thread(self._disk.write, self._trust.key, envelope, parts)
        except OSError as error:
            logger.warning("the last good snapshot cannot be kept: %s", error)

    async def _part(self, name: str, manifest: Manifest, sent: Any) -> bytes:
        """Give a part: the one that is held already, the one that was sent along, or the one that is fetched."""
        held = self._parts.get(name)
        if held is not None and digest(held) == manifest.parts[name].digest:
            return held
        if isinstance(sent, str):
            return check_part(name, sent.encode(), manifest)
        fetched = await self._ask(api.part(self._scope, manifest.parts[name].digest))
        return check_part(name, fetched, manifest)

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
                            backoff.reset()
                        await self._hear(said)
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
        self._why, self._refusal = "", None
        if self._cursor:
            self.cache.clear()  # nobody told what became of these meanwhile
        else:
            self._cursor = str(said["cursor"])
        self.cache.adrift = False

    def _lost(self, error: Exception) -> None:
        self._stream, self._fresh = None, False
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
        except MeshError as error:
            self._fresh = False
            logger.error("what the control plane said is not believed; what was in force stays: %s", error)
            self._shared.telemetry.dropped("policies", "broken")

    async def _manifest(self, said: Mapping[str, Any]) -> None:
        if not self._trust.settled:
            self._trust.learn(bytes.fromhex(str(said.get("key", ""))))
            logger.info("trusting the control plane's key from its first answer; pin it with MCP_SDK_TRUSTED_KEYS")
        envelope = Envelope.from_dict(said.get("envelope"))
        if self._shared.config.evaluation == "server":
            self._obey(envelope)
            return
        await self._take(envelope, said.get("parts") or {})
        self._shared.tell(Change("policies", _cursor(self), self._scope))

    def _obey(self, envelope: Envelope) -> None:
        """Take from a manifest what a thin client goes by: no policies, but what its operator put it into."""
        manifest = self._trust.manifest(envelope, self._scope, self._shared.identity.mesh)
        self._shared.override = manifest.overrides.get(self._shared.identity.service)

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

    async def _announce(self, endpoint: Endpoint, ttl: float) -> bool:
        try:
            await self._ask(api.register(self._scope, endpoint, ttl))
        except StoreUnavailable as error:
            logger.info("%s is not announced, and it is tried again: %s", endpoint.url, error)
            return False
        return True

    async def _renew(self, key: tuple[str, str], ttl: float) -> None:
        while True:
            await asyncio.sleep(ttl / 3 * (0.9 + secrets.randbelow(200) / 1000))
            await self._announce(self._registered[key], ttl)

    def _settled(self, transition: Transition, result: AppendResult) -> None:
        self._shared.telemetry.transition(transition, result.status.value, since=result.since)
        if transition.scope == self._scope and self.cache.settle(transition, result):
            self.fetcher.refresh(transition.ref)

    def _dropped(self, transitions: Sequence[Transition], reason: str) -> None:
        self._shared.telemetry.dropped("publisher", reason, len(transitions))
        for transition in transitions:
            if transition.scope == self._scope:
                self.cache.withdraw(transition)


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
