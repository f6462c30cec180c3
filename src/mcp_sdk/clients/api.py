"""The server's REST paths, as calls. Sans sockets: a call is a request to make and how to read its answer.

``send`` and ``asend`` drive them over httpx. Answers that refuse become the errors that a local plane would raise, so
that callers need not know where their control plane runs.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mcp_sdk.config import Config
from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.exceptions import (
    ConfigurationError,
    Finding,
    MissingExtra,
    ModelError,
    PolicyError,
    ProtocolError,
    RevisionConflict,
    StoreDenied,
    StoreError,
    StoreUnanswered,
    StoreUnavailable,
)
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import AppendResult, Applied, Page, Probe, Receipt
from mcp_sdk.protocol.plain import applied_from_plain, each, loads, result_from_plain, revision_from_plain
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision

if TYPE_CHECKING:
    import httpx

__all__ = [
    "COMPILING",
    "Call",
    "Overtaken",
    "about",
    "append",
    "apply",
    "asend",
    "async_client",
    "declare",
    "deregister",
    "forget",
    "history",
    "list_contexts",
    "part",
    "policies",
    "policy_history",
    "probe",
    "register",
    "tls_context",
]

T = TypeVar("T")
COMPILING = 300.0
"""Seconds that a server may take to compile policies and put them in force."""
CONNECT = 5.0
_PASSING = (408, 429)
"""Statuses of a request that may be made again: it arrived too slowly, or there were too many."""
DOUBT = "It may have been done all the same: mcpctl history tells"
_IN_DOUBT = ("leaving", "store-unavailable", "internal")
"""Problems of a server that may have done what was asked."""
_KEPT_OUT = {
    (401, "unauthorised"): "Renew what it comes in by: MCP_SDK_TOKEN (mcpctl token create --role publisher), or its "
    "certificate",
    (403, "forbidden"): "An admin gives it the role: mcpctl token create --role publisher, or mcpctl identity",
}
"""What is said of who asks, not of what is asked, and how to mend it."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request: ``path`` under the server's address, and what to make of the JSON of a good answer.

    One that ``waits`` is made again until the server judged what it says: being kept out is ``StoreDenied``. One with
    ``patience`` may take so many seconds, and is not made again where it is not known what became of it.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str | int] = field(default_factory=dict)
    json: Any = None
    raw: bool = False
    waits: bool = False
    patience: float = 0.0


class Overtaken(Exception):
    """A part of a snapshot is in force no longer: a newer manifest is on its way. Never raised to a caller."""


def append(transitions: Sequence[Transition]) -> Call[tuple[AppendResult, ...]]:
    """Store transitions."""
    body = {"transitions": [transition.to_dict() for transition in transitions]}
    return Call("POST", "/v1/transitions", _results, json=body, waits=True)


def list_contexts(scope: Scope, model: str, *, state: str | None, id_prefix: str, limit: int, after: str) -> Call[Page]:
    """List entities of a model."""
    params: dict[str, str | int] = {"prefix": id_prefix, "limit": limit, "after": after, **_at(scope)}
    if state is not None:
        params["state"] = state
    return Call("GET", f"/v1/contexts/{model}", _page, params)


def declare(scope: Scope, models: Sequence[BusinessModel]) -> Call[None]:
    """Declare models."""
    return Call("POST", "/v1/models", _nothing, _at(scope), {"models": [model.to_dict() for model in models]})


def register(scope: Scope, endpoint: Endpoint, ttl: float) -> Call[None]:
    """Announce an endpoint."""
    return Call("POST", "/v1/services", _nothing, _at(scope), {"endpoint": endpoint.to_dict(), "ttl": ttl})


def deregister(scope: Scope, endpoint: Endpoint) -> Call[None]:
    """Take an endpoint away."""
    return Call("DELETE", "/v1/services", _nothing, {"service": endpoint.service, "url": endpoint.url, **_at(scope)})


def apply(scope: Scope, revision: PolicyRevision, *, dry_run: bool = False) -> Call[PolicyRevision]:
    """Put policy files in force, with the models that they need; the server compiles them itself."""
    body: dict[str, Any] = {"sources": dict(revision.sources), "replaces": revision.revision, "dry_run": dry_run}
    if revision.models:
        body["models"] = [model.to_dict() for model in revision.models]
    return Call("POST", "/v1/policies", revision_from_plain, _at(scope), body, patience=COMPILING)


def policies(scope: Scope, revision: int | None) -> Call[PolicyRevision]:
    """Look a revision up; the current one for None."""
    return Call("GET", f"/v1/policies/{revision or 0}", revision_from_plain, _at(scope))


def policy_history(scope: Scope, limit: int) -> Call[tuple[PolicyRevision, ...]]:
    """Give the revisions of the policy set, newest first."""
    read: Callable[[Any], tuple[PolicyRevision, ...]] = lambda plain: tuple(  # noqa: E731
        each(revision_from_plain, plain["revisions"])
    )
    return Call("GET", "/v1/policies", read, {"limit": limit, **_at(scope)})


def history(scope: Scope, ref: EntityRef, limit: int) -> Call[tuple[Applied, ...]]:
    """Give the last transitions of an entity, oldest first."""
    read: Callable[[Any], tuple[Applied, ...]] = lambda plain: tuple(  # noqa: E731
        each(applied_from_plain, plain["transitions"])
    )
    return Call("GET", f"/v1/contexts/{ref.model}/history", read, {"id": ref.entity_id, "limit": limit, **_at(scope)})


def forget(scope: Scope, ref: EntityRef) -> Call[Receipt]:
    """Erase an entity."""
    read: Callable[[Any], Receipt] = lambda plain: Receipt(  # noqa: E731
        ref, plain["contexts"], plain["transitions"], str(plain["by"])
    )
    return Call("DELETE", f"/v1/contexts/{ref.model}/entity", read, {"id": ref.entity_id, **_at(scope)})


def about() -> Call[dict[str, Any]]:
    """Ask a server who it is, what time it has, and whom it takes the caller for."""
    return Call("GET", "/v1/about", dict)


def probe() -> Call[Probe]:
    """Have a record written to the store, and taken away."""
    return Call("POST", "/v1/probe", _probe)


def _probe(plain: Any) -> Probe:
    time = datetime.fromisoformat(plain["time"])
    return Probe(plain["version"], time, plain["written"], tuple(plain["protocol"]), plain["key"])


def part(scope: Scope, digest: str) -> Call[bytes]:
    """Fetch a part of a snapshot."""
    return Call("GET", f"/v1/parts/{digest}", bytes, _at(scope), raw=True)


def async_client(url: str, config: Config) -> httpx.AsyncClient:
    """Give the HTTP client of a server; raises ``MissingExtra`` and ``ConfigurationError``."""
    try:
        import httpx  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtra("httpx", extra="client", purpose="a control plane over HTTP") from error
    headers = {"authorization": f"Bearer {config.token}"} if config.token else {}
    verify: Any = tls_context(config) or True
    timeout = httpx.Timeout(10.0, connect=CONNECT)
    return httpx.AsyncClient(base_url=url, headers=headers, verify=verify, timeout=timeout, trust_env=False)


def tls_context(config: Config) -> ssl.SSLContext | None:
    """Give the TLS settings that a configuration names, or None for the usual ones; raises ``ConfigurationError``."""
    if not (config.tls_ca or config.tls_certificate):
        return None
    try:
        context = ssl.create_default_context(cafile=config.tls_ca or None)
        if config.tls_certificate:
            context.load_cert_chain(config.tls_certificate, config.tls_private_key or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the TLS files cannot be read: {error}. See tls_ca, tls_certificate and tls_private_key"
        ) from error
    return context


async def asend(client: httpx.AsyncClient, call: Call[T]) -> T:
    """Make a call and give its answer; raises what a local plane would: ``StoreUnavailable`` when nobody answers."""
    import httpx  # noqa: PLC0415 - an extra, and here it is

    timeout = httpx.Timeout(call.patience, connect=CONNECT) if call.patience else httpx.USE_CLIENT_DEFAULT
    try:
        response = await client.request(call.method, call.path, params=call.params, json=call.json, timeout=timeout)
        content = response.content
    except (httpx.TransportError, RuntimeError) as error:
        said = f"the control plane at {client.base_url} does not answer: {_named(error)}"
        if not call.patience or isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            raise StoreUnavailable(said) from error
        raise StoreUnanswered(f"{said}. {DOUBT}") from error
    return answer(call, response.status_code, content)


def answer(call: Call[T], status: int, content: bytes) -> T:
    """Read an answer."""
    if status >= 300:
        raise refusal(status, content, waits=call.waits, patient=call.patience > 0)
    if call.raw:
        return call.read(content)
    if status == 202:
        raise StoreError(f"nothing is in force yet: {loads(content)['detail']}")
    try:
        return call.read(loads(content) if content else None)
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"the answer to {call.method} {call.path} cannot be read: {error!r:.80}") from error


def refusal(status: int, content: bytes, *, waits: bool = False, patient: bool = False) -> Exception:
    """Give the error that a refusing answer stands for, to a call that ``waits``, or has ``patience``, or not."""
    try:
        plain = loads(content)
        detail, kind = str(plain["detail"]), str(plain["type"]).rpartition(":")[2]
    except (ProtocolError, KeyError, TypeError):
        return StoreUnavailable(f"the control plane answered {status}")
    if kind == "revision-conflict":
        return RevisionConflict("policies", expected=plain["expected"], actual=plain["actual"])
    if kind == "policies-refused":
        return PolicyError(Finding(**finding) for finding in plain.get("findings", ()))
    if status in _PASSING or status >= 500:
        return _not_now(kind, detail, patient=patient)
    if waits and (status, kind) in _KEPT_OUT:
        return StoreDenied(f"the control plane keeps this service out: {detail}. {_KEPT_OUT[status, kind]}")
    return _judged(kind, detail)


def _judged(kind: str, detail: str) -> Exception:
    if kind == "unknown-part":
        return Overtaken(detail)
    return ModelError(detail) if kind == "model-refused" else StoreError(f"the control plane refused it: {detail}")


def _not_now(kind: str, detail: str, *, patient: bool) -> StoreUnavailable:
    if patient and kind in _IN_DOUBT:
        return StoreUnanswered(f"the control plane cannot tell: {detail}. {DOUBT}")
    return StoreUnavailable(f"the control plane cannot now: {detail}")


def _at(scope: Scope) -> dict[str, str | int]:
    return {"namespace": scope.namespace, "environment": scope.environment}


def _results(plain: Any) -> tuple[AppendResult, ...]:
    return tuple(each(result_from_plain, plain["results"]))


def _page(plain: Any) -> Page:
    return Page(tuple(each(ModelContext.from_dict, plain["contexts"])), str(plain["after"]))


def _nothing(plain: Any) -> None:
    del plain


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
