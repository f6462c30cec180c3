"""``listable``: of which entities of a model a call would be permitted, for pages that list them.

The answer is a ``Residue``; ``mcp_sdk_sqlalchemy.filter_for`` and ``mcp_sdk_django.q_for`` make filters of it, and
``holds`` asks it of one object.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mcp_sdk import current
from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.current import Record
from mcp_sdk.decisions import DecisionRequest, Phase, Principal
from mcp_sdk.enforcement import Steps, adrive, believed, drive, resolve
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Status
from mcp_sdk.residue import ALWAYS, NEVER, Residue

__all__ = ["alistable", "listable"]


def listable(
    model: str | type, operation: str, *, principal: Principal | None = None, contexts: Iterable[ModelContext] = ()
) -> Residue:
    """Give of which entities of ``model`` (its name or class) a call of ``operation`` would be permitted.

    ``operation`` is a path template whose one parameter is the entity (``GET /orders/{order}``), or the name of a
    method as ``@requires_permit`` has it. Principal, request and the contexts of other models are those of the request
    at hand; ``principal`` and ``contexts`` take their place. What policies look at beside is fetched, which blocks.

    Nothing is listed where no policy speaks of the operation, where none is known yet, or where the decision fails;
    everything in modes ``observe`` and ``off``, in which every call goes on. Raises ``UnknownModel``, and
    ``ConfigurationError`` when no mesh was started, for a template that names more, and for the principal's model.
    """
    mesh, work = _find(operation)
    return drive(mesh, _steps(mesh, work, _model(mesh, model), _Question(operation, principal, tuple(contexts))))


async def alistable(
    model: str | type, operation: str, *, principal: Principal | None = None, contexts: Iterable[ModelContext] = ()
) -> Residue:
    """Give what ``listable`` gives, without blocking the loop."""
    mesh, work = _find(operation)
    question = _Question(operation, principal, tuple(contexts))
    return await adrive(mesh, _steps(mesh, work, _model(mesh, model), question))


class _Question:
    """What a caller of ``listable`` says."""

    __slots__ = ("contexts", "operation", "principal")

    def __init__(self, operation: str, principal: Principal | None, contexts: tuple[ModelContext, ...]) -> None:
        self.operation, self.principal, self.contexts = operation, principal, contexts


def _find(operation: str) -> tuple[Any, Record]:
    work = current.record()
    mesh = work.mesh if work is not None and work.mesh is not None else current.installed()
    if mesh is None:
        raise ConfigurationError(
            f"{operation} cannot be listed by: no mesh was started. Call mesh.start(), or use MeshMiddleware."
        )
    return mesh, work if work is not None else Record(mesh)


def _model(mesh: Any, model: str | type) -> BusinessModel:
    found = mesh.models.named(model) if isinstance(model, str) else mesh.models.of_type(model)
    if found is None:
        raise ConfigurationError(f"{model!r} is no class of a declared model. Declare it with mesh.model(...).")
    if found.principal:
        raise ConfigurationError(
            f"in policies, {found.name} is who calls, never one of a list. List by a model of the listed ones' own."
        )
    known: BusinessModel = found
    return known


def _steps(mesh: Any, work: Record, model: BusinessModel, question: _Question) -> Steps[Residue]:
    def read(subject: Any) -> ModelContext:
        facts = mesh.models.read(model, subject)
        return ModelContext(model.name, facts.entity_id, facts.state, facts.attributes, source=mesh.identity.service)

    if not mesh.enforcing:
        return Residue(model, ALWAYS, read=read)
    request = yield from resolve(mesh, _request(mesh, work, model, question))
    return replace(_answer(mesh, request, model), read=read)


def _answer(mesh: Any, request: DecisionRequest, model: BusinessModel) -> Residue:
    try:
        plane = mesh.control_plane
        if plane.status() is Status.UNAVAILABLE:
            return Residue(model, NEVER)
        residue: Residue = plane.residue(request, model)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever broke, nothing is listed
        mesh.telemetry.failed("residue", error)
        return Residue(model, NEVER)
    return residue


def _request(mesh: Any, work: Record, model: BusinessModel, question: _Question) -> DecisionRequest:
    call, identity = work.call, mesh.identity
    contexts, references = believed(mesh, work.contexts), dict(work.references)
    if question.principal is not None:
        _impersonate(mesh, question.principal, contexts, references)
    contexts |= {context.model: context for context in question.contexts}
    for known in (contexts, references):
        known.pop(model.name, None)
    return DecisionRequest(
        identity.service,
        question.operation,
        Phase.INBOUND if " " in question.operation else Phase.METHOD,
        contexts,
        tuple(references.values()),
        _facts(call.request, question.operation),
        question.principal or call.principal,
        call.source,
        identity.namespace,
        identity.environment,
        mesh.runtime.clock.now(),
    )


def _facts(request: Any, operation: str) -> Any:
    """Give the request's facts with the method of the calls that are asked about."""
    method, space, path = operation.partition(" ")
    return replace(request, method=method, operation=operation, path=path) if space else request


def _impersonate(
    mesh: Any, principal: Principal, contexts: dict[str, ModelContext], references: dict[str, EntityRef]
) -> None:
    """Put the entity of another principal in the place of the caller's."""
    for model in mesh.models.values():
        if model.principal:
            contexts.pop(model.name, None)
            references.pop(model.name, None)
            if principal.authenticated and principal.id:
                references[model.name] = mesh.models.ref(model, principal.id)
