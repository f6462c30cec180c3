"""What ``mcpctl check`` looks at, one finding a look: what was found, whether it is well, and how to mend it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from mcp_sdk.baggage import Codec, admit
from mcp_sdk.cli.plane import opened, require_file
from mcp_sdk.cli.servers import ask, greet, is_server
from mcp_sdk.clients import api
from mcp_sdk.config import Config
from mcp_sdk.context import EntityRef, ModelContext, Trust
from mcp_sdk.exceptions import MeshError, StoreError, StoreUnavailable
from mcp_sdk.mesh import Mesh
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import ControlPlane, Identity, Status
from mcp_sdk.protocol.frames import PROTOCOL
from mcp_sdk.registry import Registry
from mcp_sdk.signing import Keyring

__all__ = ["Finding", "diagnose"]

SKEW = 2.0
"""Seconds of clock difference that are told; signatures live 60 s, and network time keeps far below this."""
SLOW = 1.0
WELL, WORTH, WRONG = "ok", "warning", "error"
FIRST = "Mend this first; nothing else could be looked at"
CUT = "Is the token of this namespace and environment, and do proxies let WebSockets through (/v1/stream)?"
ENDING = ("reachability", "trust", "mesh")
"""The looks at a server that end it where they are wrong: what follows would tell of the same."""
MODEL = "mcpctl_check"
"""The model of what is asked for and signed here; no service has one of that name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``severity`` is ``ok``, ``warning`` or ``error``; ``mend`` is empty where well."""

    check: str
    severity: str
    found: str
    mend: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return asdict(self)


def diagnose(config: Config) -> Iterator[Finding]:
    """Look at an installation, from the outside in; what cannot be reached or believed ends it.

    Raises ``WrongUsage`` for a SQLite file that is not there.
    """
    require_file(config)
    if not is_server(config):
        yield from _of_store(config)
        return
    for finding in _of_server(config):
        yield finding
        if finding.severity == WRONG and finding.check in ENDING:
            return
    yield from _of_stream(config)


def _of_store(config: Config) -> Iterator[Finding]:
    try:
        with opened(config) as mesh:
            yield Finding("reachability", WELL, f"the {config.control_plane.partition(':')[0]} store answers")
            yield from _of_plane(mesh)
    except MeshError as error:
        yield Finding("reachability", WRONG, str(error), FIRST)


def _of_server(config: Config) -> Iterator[Finding]:
    """Look at what a server says of itself."""
    try:
        greet(config)
        began = datetime.now(UTC)
        about = ask(config, api.about())
        ended = datetime.now(UTC)
    except MeshError as error:
        yield Finding("reachability", WRONG, str(error), FIRST)
        return
    who = f"{about['caller']} ({', '.join(about['roles']) or 'no role'})"
    took = _ms((ended - began).total_seconds() / 2)
    yield Finding("reachability", WELL, f"the server answers in {took} to {who}")
    yield _clock(began, datetime.fromisoformat(about["time"]), ended)
    yield _versions(about)
    yield _trust(config, str(about["key"]))
    if about["mesh"] != config.mesh:
        yield _other_mesh(config.mesh, about["mesh"])


def _other_mesh(ours: str, theirs: str) -> Finding:
    said = f"the server is of mesh {theirs!r}, this side of {ours!r}: its policies are not believed"
    return Finding("mesh", WRONG, said, f"Set MCP_SDK_MESH={theirs}, or talk to another server")


def _of_stream(config: Config) -> Iterator[Finding]:
    """Connect as a service does, and look at what comes."""
    try:
        with opened(config) as mesh:
            heard = _stream(mesh)
            yield heard
            if heard.severity == WELL:
                yield from _of_plane(mesh)
    except MeshError as error:
        yield Finding("stream", WRONG, str(error), CUT)


def _of_plane(mesh: Mesh) -> Iterator[Finding]:
    looks = {"store": _writable, "policies": _policies, "keys": _keys, "propagation": _propagation}
    for check, look in looks.items():
        try:
            yield look(mesh)
        except MeshError as error:
            yield Finding(check, WRONG, str(error), "Mend this first; what follows could not be looked at")
            return


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def _clock(began: datetime, theirs: datetime, ended: datetime) -> Finding:
    """Compare clocks as NTP does: theirs against the middle of asking and hearing; half the way is not known."""
    middle = began + (ended - began) / 2
    skew, doubt = (theirs - middle).total_seconds(), (ended - began).total_seconds() / 2
    said = f"the server's clock is {abs(skew):.2f} s {'ahead' if skew > 0 else 'behind'} (within {doubt:.2f} s)"
    if abs(skew) <= SKEW + doubt:
        return Finding("clock", WELL, said)
    return Finding(
        "clock", WRONG, said, "Synchronise both clocks (chrony, systemd-timesyncd): signatures live a minute"
    )


def _versions(about: dict[str, Any]) -> Finding:
    ours, theirs = version("mcp-sdk"), str(about["version"])
    said = f"client {ours}, server {theirs}, protocol {', '.join(map(str, about['protocol']))}"
    if PROTOCOL not in about["protocol"]:
        return Finding("versions", WRONG, f"{said}; this client speaks {PROTOCOL}", "Upgrade the side that is behind")
    if ours != theirs:
        return Finding("versions", WORTH, said, "They understand each other; upgrade the older one when you can")
    return Finding("versions", WELL, said)


def _trust(config: Config, key: str) -> Finding:
    if not config.trusted_keys:
        mend = f"Pin it: MCP_SDK_TRUSTED_KEYS={key}"
        return Finding("trust", WORTH, "no key is pinned: whoever answers first is believed", mend)
    if key in config.trusted_keys:
        return Finding("trust", WELL, f"the server signs with a key that is trusted ({key[:12]}…)")
    mend = f"If mcpctl serve printed {key}, put it into MCP_SDK_TRUSTED_KEYS"
    return Finding("trust", WRONG, f"the server's key ({key[:12]}…) is none of those trusted", mend)


def _stream(mesh: Mesh) -> Finding:
    """Have a question cross the stream that services live by, to the server's store and back."""
    plane = mesh.control_plane
    if not _fresh(plane, mesh.config.start_timeout):
        said = f"what the server says is in force does not come here: {plane.why or 'no manifest came'}"
        return Finding("stream", WRONG, said, CUT)
    began = time.monotonic()
    try:
        plane.fetch([EntityRef(MODEL, "nobody")]).result(mesh.config.start_timeout)
    except (TimeoutError, MeshError) as error:
        said = str(error) or f"nothing came within {mesh.config.start_timeout:g} s"
        return Finding("stream", WRONG, f"a question by the stream was not answered: {said}", CUT)
    took = _ms(time.monotonic() - began)
    return Finding("stream", WELL, f"a question went by the stream to the store and back in {took}")


def _fresh(plane: ControlPlane, timeout: float) -> bool:
    """Wait for the server's own word: one that begins with the last good snapshot is there before it."""
    deadline = time.monotonic() + timeout
    while plane.status() is not Status.READY and time.monotonic() < deadline:
        time.sleep(0.01)
    return plane.status() is Status.READY


def _writable(mesh: Mesh) -> Finding:
    try:
        probe = mesh.control_plane.probe().result(mesh.config.start_timeout)
    except TimeoutError:
        mend = "Look at the store's load and its disk"
        return Finding("store", WRONG, f"the store took no record within {mesh.config.start_timeout:g} s", mend)
    except MeshError as error:
        return _not_written(error, refused=is_server(mesh.config) and not isinstance(error, StoreUnavailable))
    said = f"a record was written and removed in {_ms(probe.written)}"
    if probe.written > SLOW:
        return Finding("store", WORTH, said, "The store is slow; look at its disk and its load")
    return Finding("store", WELL, said)


def _not_written(error: MeshError, *, refused: bool) -> Finding:
    """Tell a token that may not from a store that cannot: services need no such right."""
    if refused and isinstance(error, StoreError):
        said = "not looked at: this token may not write a probe"
        return Finding("store", WORTH, said, f"Use one of role operator; {error}")
    mend = "Is the disk full, or the file of another user?"
    return Finding("store", WRONG, f"no record could be written: {error}", mend)


def _policies(mesh: Mesh) -> Finding:
    snapshot = mesh.control_plane.snapshot()
    number = len(snapshot.programs.get("policies", ()))
    said = f"revision {snapshot.revision}; policies: {number}, models: {len(snapshot.models)}"
    if not snapshot.models:
        return Finding("policies", WORTH, said, "No service has declared a model here: is the namespace right?")
    if not number:
        return Finding("policies", WORTH, said, "Nothing is decided yet. Put policies in force: mcpctl apply policies/")
    return Finding("policies", WELL, said)


def _keys(mesh: Mesh) -> Finding:
    config, shared = mesh.config, mesh.control_plane.keys()
    if not config.signing_keys:
        if shared:
            kids = ", ".join(key.kid for key in shared)
            return Finding("keys", WELL, f"baggage is signed with the keys that the control plane shares ({kids})")
        who = " and tokens of role publisher or admin are told" if is_server(config) else ""
        mend = f"The first service that comes has them made{who}. Or set MCP_SDK_SIGNING_KEYS alike everywhere"
        return Finding("keys", WORTH, "the control plane shares no signing keys with this caller", mend)
    ours = Keyring.parse(config.signing_keys)
    alike = [key.kid for key in shared if ours.find(key.kid) == key]
    if shared and not alike:
        mend = "Unset MCP_SDK_SIGNING_KEYS where services share a control plane, or set the same everywhere"
        return Finding("keys", WORTH, "MCP_SDK_SIGNING_KEYS holds none of the keys that the control plane shares", mend)
    kids = ", ".join(key.kid for key in ours.keys)
    return Finding("keys", WELL, f"baggage is signed with MCP_SDK_SIGNING_KEYS ({kids})")


def _propagation(mesh: Mesh) -> Finding:
    """Send a marked context by the header alone, from this side to one with the keys that others use, and back."""
    shared = mesh.control_plane.keys()
    ours = Keyring.parse(mesh.config.signing_keys).keys if mesh.config.signing_keys else shared
    if not ours:
        mend = "See the finding on keys"
        return Finding("propagation", WORTH, "not looked at: there is no key to sign a context with", mend)
    here, there = Keyring(tuple(ours)), Keyring(tuple(shared or ours))
    forth, back = _carried(mesh, here, there), _carried(mesh, there, here)
    if forth and back:
        said = "a marked context of this side is believed by services with the control plane's keys, and theirs here"
        alone = "a marked context of this side is believed by whoever has the same MCP_SDK_SIGNING_KEYS"
        return Finding("propagation", WELL, said if shared else alone)
    return _unbelieved(forth=forth, back=back)


def _unbelieved(*, forth: bool, back: bool) -> Finding:
    """Say in which direction a context is lost; in both it may be meant: each service may have keys of its own here."""
    they = "services with the control plane's keys"
    said = f"this side and {they} do not believe each other"
    if forth:
        said = f"what {they} sign is not believed here"
    elif back:
        said = f"what is signed here is not believed by {they}"
    mend = "Unset MCP_SDK_SIGNING_KEYS here, or see that every service has the same"
    return Finding("propagation", WRONG if forth or back else WORTH, said, mend)


def _carried(mesh: Mesh, sender: Keyring, receiver: Keyring) -> bool:
    model, now = BusinessModel(MODEL), time.time()
    mark = ModelContext(model.name, f"mark-{int(now)}", "sent")
    codec: Callable[[Keyring, str], Codec] = lambda keys, service: Codec(  # noqa: E731
        keys, _as_service(mesh.identity, service), Registry([model]), ttl=mesh.config.signature_ttl
    )
    header = codec(sender, "mcpctl-sender").encode([mark], now=now).header
    admitted = admit(codec(receiver, "mcpctl-receiver").parse([header], now=now), "mesh")
    found = admitted.contexts.get(model.name)
    return found is not None and found.ref == mark.ref and found.trust is Trust.VERIFIED


def _as_service(identity: Identity, service: str) -> Identity:
    return Identity(service, identity.mesh, identity.namespace, identity.environment)
