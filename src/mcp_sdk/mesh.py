"""``Mesh``: the one object that a user builds. It owns the lifecycle, and knows the parts only by their ports."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from enum import Enum
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from weakref import WeakSet

from mcp_sdk import _plugins, capture, current
from mcp_sdk.baggage import Codec
from mcp_sdk.clock import Runtime
from mcp_sdk.config import Config, from_env
from mcp_sdk.context import EntityRef, ModelContext, Transition
from mcp_sdk.decision_log import DecisionLog, print_decision
from mcp_sdk.decisions import Decision, DecisionRequest, Shed
from mcp_sdk.enforcement import missing
from mcp_sdk.entities import Entity, bind
from mcp_sdk.exceptions import ModelError
from mcp_sdk.glass import GlassFile
from mcp_sdk.listeners import Listeners
from mcp_sdk.models import BusinessModel
from mcp_sdk.operations import OperationPattern
from mcp_sdk.ports import Change, ControlPlane, Identity, Status, TransactionPort
from mcp_sdk.pseudonyms import Pseudonyms
from mcp_sdk.registry import Registry, infer
from mcp_sdk.services import Endpoint
from mcp_sdk.signing import Keyring
from mcp_sdk.snapshot import Snapshot
from mcp_sdk.telemetry import Telemetry
from mcp_sdk.transactions import submit

__all__ = ["Mesh"]

_meshes: WeakSet[Mesh] = WeakSet()
C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
logger = logging.getLogger("mcp_sdk")


class Mesh:
    """A service's part in the mesh.

    Build one for each process, declare the models, hand it to the middleware and transports. Settings are keyword
    arguments named like the fields of ``Config`` (``Mesh(service="orders", control_plane="sqlite:///mesh.db")``);
    ``Mesh.from_env()`` reads the environment too. Nothing starts before ``start`` (or the first request), so a
    prefork server may import it.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        models: Iterable[BusinessModel] = (),
        control_plane: ControlPlane | str | None = None,
        decision_log: DecisionLog | None = None,
        runtime: Runtime | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(control_plane, str):
            settings["control_plane"] = control_plane
        self.config: Config = config if config is not None else from_env({}, **settings)
        self.runtime: Runtime = runtime or Runtime()
        self.identity: Identity = _identity(self.config, self.runtime)
        self.models: Registry = Registry(models, pseudonym_key=self.config.pseudonym_key.encode())
        self.operations: list[OperationPattern] = []
        self.telemetry: Telemetry = Telemetry(self.models, pseudonyms=self._pseudonyms())
        self.decision_log: DecisionLog = decision_log or DecisionLog()
        self.listeners: Listeners = Listeners(self.telemetry)
        self.transaction_ports: list[TransactionPort] = []
        self._given = control_plane if isinstance(control_plane, ControlPlane) else None
        self._plane: ControlPlane | None = self._given
        self._codec: Codec | None = None
        self._glass = self._glass_file()
        self._pid = 0
        self._first: Future[None] | None = None
        self._starting = Lock()
        _meshes.add(self)
        self._undo: list[Callable[[], object]] = []

    @classmethod
    def from_env(cls, *, models: Iterable[BusinessModel] = (), **settings: Any) -> Self:
        """Build a mesh from arguments, ``MCP_SDK_*`` variables and ``[tool.mcp_sdk]``, in that order.

        Raises ``ConfigurationError`` that names the setting, its value and the valid ones.
        """
        options: dict[str, Any] = {name: settings.pop(name) for name in ("decision_log", "runtime") if name in settings}
        plane = settings.get("control_plane")
        if isinstance(plane, ControlPlane):
            options["control_plane"] = settings.pop("control_plane")
        return cls(from_env(**settings), models=models, **options)

    # Declaring

    @overload
    def model(self, declared: BusinessModel) -> BusinessModel: ...
    @overload
    def model(self, declared: C) -> C: ...
    @overload
    def model(
        self, declared: None = None, *, name: str = "", key: str = "id", state: str = "state", **options: Any
    ) -> Callable[[C], C]: ...
    def model(
        self, declared: Any = None, *, name: str = "", key: str = "id", state: str = "state", **options: Any
    ) -> Any:
        """Declare a business model: give a ``BusinessModel``, or decorate the class whose objects are the entities.

        ``key`` and ``state`` name the attributes of the class that hold id and state. States come from the Enum that
        annotates ``state``, or from ``states``; ``attributes`` lists what policies may see, typed by the class's
        annotations; ``sensitive`` lists what never leaves the object. Other options are the fields of
        ``BusinessModel``. Raises ``ModelError`` for a declaration that cannot work.
        """
        if isinstance(declared, BusinessModel):
            self.models.declare(declared)
            return declared

        if declared is not None and not isinstance(declared, type):
            raise ModelError(
                f"a model is declared by a BusinessModel or a class, not {declared!r}; a name goes in name="
            )

        def decorate(cls: C) -> C:
            model, enum = infer(cls, name=name or cls.__name__.lower(), key=key, state=state, **options)
            self.models.declare(model, states_enum=enum)
            return cls

        return decorate if declared is None else decorate(declared)

    def on_transition(
        self, model: str, *, from_: str | Enum | None = None, to: str | Enum | None = None
    ) -> Callable[[F], F]:
        """Have a function called with each ``Transition`` that matches and was applied, made here or elsewhere.

        Coroutine functions run on the application's loop when ``lifespan`` knows it. It hears what happens between
        ``start`` and ``close``; what is not called by then is not caught up on.
        """
        if self._plane is not None:
            self._plane.listen([model])
        return self.listeners.add(model, from_=from_, to=to)

    def on_commit(self, port: TransactionPort) -> None:
        """Let transitions wait for the outermost commit of database transactions that ``port`` knows about."""
        self.transaction_ports.append(port)

    def declare_operations(self, patterns: Iterable[str]) -> None:
        """Tell the path templates of this service (``GET /orders/{order}``), whose parameters name entities."""
        self.operations.extend(OperationPattern.parse(pattern) for pattern in patterns)

    # Work at hand

    def bind(self, entity: Any, entity_id: Any = None, **attributes: Any) -> ModelContext:
        """Make an entity one that the work at hand is about: calls below carry it.

        ``entity`` is an object of a declared class, or a model's name with ``entity_id``. Inside ``@model_context``
        of that model it gives the id that the new entity now has.
        """
        return bind(self, entity, entity_id, attributes)

    def entity(self, model: str, entity_id: Any) -> Entity:
        """Give an entity to change outside any decorated method: ``async with mesh.entity("order", n) as order``."""
        return Entity(self, self.models.named(model), entity_id)

    def context(self, model: str) -> ModelContext | None:
        """Give the context of a model that the work at hand is about, or None."""
        work = current.record()
        return work.contexts.get(model) if work is not None else None

    def contexts(self) -> Mapping[str, ModelContext]:
        """Give every context that the work at hand is about, by model."""
        work = current.record()
        return work.view() if work is not None else {}

    def publish(
        self, model: str, entity_id: Any, *, state: str | Enum | None = None, **attributes: Any
    ) -> ModelContext:
        """Publish a change of an entity at once; raises ``InvalidTransition`` where the model enforces its moves."""
        return Entity(self, self.models.named(model), entity_id).move(state, attributes)

    def known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity that this process knows; None where a newer one may be stored."""
        return self._plane.known(ref) if self._plane is not None and ref.entity_id else None

    def last_known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity that was ever known here, for a change to stand on."""
        return self._plane.last_known(ref) if self._plane is not None and ref.entity_id else None

    def commit(self, work: current.Record, transitions: Sequence[Transition], subjects: Sequence[object] = ()) -> None:
        """Publish transitions now, or when the database transaction around the caller commits. Never raises."""
        submit(self, work, transitions, subjects)

    # Deciding

    def decide(self, request: DecisionRequest, answer: Decision | None = None) -> Decision:
        """Ask the control plane, or take the ``answer`` of a server; count it and log it. Never raises."""
        decision = self._answer(request) if answer is None else answer
        self.telemetry.decided(request, decision)
        if decision.rolled is not None:
            self.control_plane.decided(decision)
        if self.decision_log.enabled:
            absent = missing(self, request)
            self.decision_log.write(request, decision, self.telemetry, absent=absent, enforced=self.enforcing)
        if self.config.debug:
            print_decision(request, decision, self.telemetry, "enforce" if self.enforcing else "observe")
        return decision

    def _answer(self, request: DecisionRequest) -> Decision:
        try:
            plane = self.control_plane
            if self.config.unavailable == "refuse" and plane.status() is Status.UNAVAILABLE:
                return Decision(Shed(1.0, message="No policies are known yet"))
            return plane.decide(request)
        except Exception as error:  # noqa: BLE001 - whatever broke, the refusal is ours and is closed
            self.telemetry.failed("decide", error)
            return Decision(Shed(1.0, message="The decision failed"))

    def _glass_file(self) -> GlassFile | None:
        path, keys = self.config.break_glass_file, self.config.break_glass_keys
        if not path:
            return None
        return GlassFile(path, keys, self.identity, monotonic=self.runtime.clock.monotonic, now=self.runtime.clock.now)

    def _pseudonyms(self) -> Pseudonyms:
        return Pseudonyms(
            self.models,
            keyed=bool(self.config.pseudonym_key),
            service=self.identity.service,
            operations=self.operations,
            snapshot=lambda: self._plane.snapshot() if self._plane is not None else Snapshot(),
        )

    @property
    def enforcing(self) -> bool:
        """Whether refusals are carried out: the mode is ``enforce``, and no operator broke the glass."""
        return self.config.mode == "enforce" and not self._glass_broken()

    def _glass_broken(self) -> bool:
        plane, file = self._plane, self._glass
        for override in (plane.override if plane is not None else None, file.override() if file is not None else None):
            if override is not None and override.mode == "observe" and override.until > self.runtime.clock.now():
                return True
        return False

    @property
    def watching(self) -> bool:
        """Whether anything is done at all: the mode is not ``off``."""
        return self.config.mode != "off"

    @property
    def started(self) -> bool:
        """Whether the mesh was started in this process, and not closed since."""
        return self._pid == os.getpid()

    @property
    def control_plane(self) -> ControlPlane:
        """The control plane of this process, started if need be."""
        if self._plane is None or self._pid != os.getpid():
            self.start()
        assert self._plane is not None
        return self._plane

    @property
    def codec(self) -> Codec:
        """Reads and signs baggage, with the configured keys, else the store's, else this process's own."""
        if self._codec is None:
            self._codec = Codec(self._choose_keyring(), self.identity, self.models, ttl=self.config.signature_ttl)
        return self._codec

    def _choose_keyring(self) -> Keyring:
        if self.config.signing_keys:
            return Keyring.parse(self.config.signing_keys)
        shared = self.control_plane.keys()
        if shared:
            return Keyring(shared)
        logger.info(
            "mcp_sdk signs with a key of this process alone; services believe each other by MCP_SDK_SIGNING_KEYS"
        )
        return Keyring.ephemeral()

    # Lifecycle

    def start(self) -> Self:
        """Start in this process and wait at most ``start_timeout`` seconds for the first snapshot. May be called twice.

        Raises ``UnknownModel`` and ``UnknownState`` for decorators that name what was never declared, and
        ``ConfigurationError``; a store that is away raises nothing: the plane goes on trying.
        """
        _wait(self._begun(), self.config.start_timeout)
        return self

    async def astart(self) -> Self:
        """Start like ``start``, without blocking the loop."""
        self.listeners.loop = asyncio.get_running_loop()
        started = asyncio.wrap_future(self._begun())
        await asyncio.wait([started], timeout=self.config.start_timeout)
        if started.done():
            started.result()
        else:
            _go_on(self.config.start_timeout)
        return self

    def _begun(self) -> Future[None]:
        with self._starting:
            if self._first is None or self._pid != os.getpid():
                self._first = self._begin()
            return self._first

    def _begin(self) -> Future[None]:
        capture.check_declarations(self.models)
        self.listeners.check(self.models)
        for undo in self._undo:
            undo()
        self._plane = self._given or self._connect()
        done = self._plane.start(self.models.values())
        self._undo = [current.install(self), self._plane.subscribe(self._heard)]
        self._plane.listen(self.listeners.models)
        self._plane.on_tap(self.decision_log.tap)
        if self.config.url and self.config.service:
            self._plane.register(self._endpoint(), ttl=self.config.lease)
        self._pid, self._codec = os.getpid(), None
        return done

    def _connect(self) -> ControlPlane:
        connect = _plugins.load(_plugins.CONTROL_PLANES, self.config.control_plane)
        plane: ControlPlane = connect(
            self.config.control_plane, identity=self.identity, config=self.config, telemetry=self.telemetry
        )
        return plane

    def _endpoint(self) -> Endpoint:
        who = self.identity
        return Endpoint(
            who.service, self.config.url, who.instance, who.version, who.labels, self.config.weight, who.zone
        )

    def _heard(self, change: Change) -> None:
        if change.kind == "keys":
            self._codec = None
        self.listeners.hear(change)

    def after_fork(self) -> None:
        """Take a lock that nobody holds, in a child that was forked while its parent started."""
        self._starting = Lock()

    def close(self, timeout: float | None = None) -> None:
        """Flush and stop, within ``timeout`` seconds (``shutdown_timeout`` unless given). May be called twice."""
        plane, self._plane = self._plane, self._given
        if plane is None or self._pid != os.getpid():
            return
        self._pid, self._first = 0, None
        for undo in self._undo:
            undo()
        self.listeners.close()
        plane.close(self.config.shutdown_timeout if timeout is None else timeout)

    async def aclose(self) -> None:
        """Close like ``close``, without blocking the loop."""
        await asyncio.to_thread(self.close)

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """Start and close with an ASGI application: ``FastAPI(lifespan=mesh.lifespan)``."""
        del app
        await self.astart()
        try:
            yield
        finally:
            await self.aclose()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            return await self.astart()
        except BaseException:
            await self.aclose()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _after_fork() -> None:
    for mesh in list(_meshes):
        mesh.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _identity(config: Config, runtime: Runtime) -> Identity:
    return Identity(
        service=config.service,
        mesh=config.mesh,
        namespace=config.namespace,
        environment=config.environment,
        instance=config.instance or f"{config.service or 'process'}-{runtime.ids()}",
        version=config.version,
        labels=config.labels,
        zone=config.zone,
    )


def _wait(done: Future[None], timeout: float) -> None:
    try:
        done.result(timeout)
    except TimeoutError:
        _go_on(timeout)


def _go_on(timeout: float) -> None:
    logger.warning("mcp_sdk has no snapshot after %.1f s and goes on trying", timeout)
