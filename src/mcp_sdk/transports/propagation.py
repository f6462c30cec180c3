"""Our baggage for whatever OpenTelemetry instruments: ``OTEL_PROPAGATORS=tracecontext,baggage,mcp_sdk``, ours last.

It extracts from any carrier that a client library's instrumentation knows: messages of a queue as well as requests.
What it extracts obeys the ingress mode, as in the middleware, and stands in OpenTelemetry's context as a ``Record``
(``work_of``): the work at hand wherever that context is attached, unless the middleware, a decorated call or
``current.use`` there says what is. Members of ours are taken out of OpenTelemetry's own baggage, which would otherwise
send them on, stale, to every host.

It does not inject unless ``MCP_SDK_PROPAGATOR_INJECT`` says so: OpenTelemetry asks a propagator to inject without
telling it the host, so the business context would go to every host that is called, and not only to the mesh's.
``MeshTransport`` knows the host. Where it injects it writes the whole header, others' members too, for a carrier can be
written to and not read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from opentelemetry import baggage as otel_baggage
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)

from mcp_sdk import current, members
from mcp_sdk.baggage import HEADER, NOTHING, PREFIX, Encoded, Parsed, admit, merged
from mcp_sdk.current import Record
from mcp_sdk.mesh import Mesh

__all__ = ["MeshPropagator", "work_of"]

WHERE = "propagator"
logger = logging.getLogger("mcp_sdk")
_WORK = otel_context.create_key("mcp_sdk_work")


def work_of(context: Context | None = None) -> Record | None:
    """Give the work that was extracted into a context of OpenTelemetry's, the current one unless given."""
    found = otel_context.get_value(_WORK, context)
    return found if isinstance(found, Record) else None


class MeshPropagator(TextMapPropagator):
    """Extracts business context for OpenTelemetry, and injects it where the mesh's configuration opts in. Never raises.

    ``mesh`` is the one that was started last in this process, unless given; before one is started nothing happens.
    """

    def __init__(self, mesh: Mesh | None = None) -> None:
        self._mesh = mesh
        self._said = False

    @property
    def fields(self) -> set[str]:
        """The headers that ``inject`` writes."""
        return {HEADER}

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """Give ``context`` with the work that the carrier's ``baggage`` tells of, where it tells of any."""
        context = otel_context.get_current() if context is None else context
        mesh = self._watching()
        lines = getter.get(carrier, HEADER)
        if mesh is None or not lines:
            return context
        try:
            parsed = mesh.codec.parse(lines, now=mesh.runtime.clock.now().timestamp())
            if parsed is NOTHING:
                return context
            current.look_beneath(work_of)
            return otel_context.set_value(_WORK, _admitted(mesh, parsed), _without_ours(context))
        except Exception as error:  # noqa: BLE001 - a header of anybody's must not fail the request: absent
            mesh.telemetry.failed(WHERE, error)
            return context

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Write the ``baggage`` of the work at hand into a carrier, if that was opted in."""
        mesh = self._watching()
        if mesh is None or not mesh.config.propagator_inject:
            return
        self._say_once()
        try:
            encoded = _encoded(mesh, current.held() or work_of(context), context)
        except Exception as error:  # noqa: BLE001 - a call without context is better than no call
            mesh.telemetry.failed(WHERE, error)
            return
        for problem, count in encoded.dropped.items():
            mesh.telemetry.dropped(WHERE, problem.value, count)
        if encoded.header:
            setter.set(carrier, HEADER, encoded.header)

    def _watching(self) -> Mesh | None:
        mesh: Mesh | None = self._mesh if self._mesh is not None else current.installed()
        return mesh if mesh is not None and mesh.watching else None

    def _say_once(self) -> None:
        if not self._said:
            self._said = True
            logger.warning(
                "MCP_SDK_PROPAGATOR_INJECT sends business context to every host that OpenTelemetry instruments, "
                "inside the mesh or not; MeshTransport sends it to the mesh's hosts only"
            )


def _admitted(mesh: Mesh, parsed: Parsed) -> Record:
    admitted = admit(parsed, mesh.config.ingress)
    for problem in parsed.problems:
        mesh.telemetry.dropped(WHERE, problem.value)
    for problem, count in admitted.dropped.items():
        mesh.telemetry.dropped(WHERE, problem.value, count)
    work = Record(mesh)
    work.contexts = dict(admitted.contexts)
    work.references = {ref.model: ref for ref in admitted.references}
    work.others = parsed.others
    return work


def _without_ours(context: Context) -> Context:
    for name in otel_baggage.get_all(context):
        if name.startswith(PREFIX):
            context = otel_baggage.remove_baggage(name, context)
    return context


def _encoded(mesh: Mesh, work: Record | None, context: Context | None) -> Encoded:
    others = merged(_raw(otel_baggage.get_all(context).items()), work.others if work is not None else ())
    contexts = work.contexts.values() if work is not None else ()
    return mesh.codec.encode(contexts, now=mesh.runtime.clock.now().timestamp(), others=others)


def _raw(entries: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Write OpenTelemetry's entries as its own propagator does; one that holds a lone surrogate is left out."""
    for key, value in entries:
        try:
            yield f"{members.escape(key)}={members.escape(str(value))}"
        except ValueError:
            continue
