"""What ``mcpctl check`` looks at, one finding a look: what was found, whether it is well, and how to mend it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from mcp_sdk.baggage import Codec, admit
from mcp_sdk.cli.plane import opened
from mcp_sdk.cli.servers import ask, greet, is_server
from mcp_sdk.clients import api
from mcp_sdk.config import Config
from mcp_sdk.context import ModelContext, Trust
from mcp_sdk.exceptions import MeshError
from mcp_sdk.mesh import Mesh
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Identity
from mcp_sdk.protocol.frames import PROTOCOL
from mcp_sdk.registry import Registry
from mcp_sdk.signing import Keyring

__all__ = ["Finding", "diagnose"]

SKEW = 2.0
"""Seconds of clock difference that are told; signatures live 60 s, and network time keeps far below this."""
SLOW = 1.0
WELL, WORTH, WRONG = "ok", "warning", "error"


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
    """Look at an installation, from the outside in; what cannot be reached ends it."""
    if is_server(config):
        try:
            greet(config)
            began = datetime.now(UTC)
            about = ask(config, api.about())
            ended = datetime.now(UTC)
        except MeshError as error:
            yield Finding("reachability", WRONG, str(error), "Mend this first; nothing else could be looked at")
            return
        who = f"{about['caller']} ({', '.join(about['roles']) or 'no role'})"
        yield Finding(
            "reachability", WELL, f"the server answers in {_ms((ended - began).total_seconds() / 2)} to {who}"
        )
        yield _clock(began, datetime.fromisoformat(about["time"]), ended)
        yield _versions(about)
        yield _trust(config, str(about["key"]))
        if about["mesh"] != config.mesh:
            yield Finding(
                "mesh",
                WRONG,
                f"the server is of mesh {about['mesh']!r}, this side of {config.mesh!r}: its policies are not believed",
                f"Set MCP_SDK_MESH={about['mesh']}, or talk to another server",
            )
            return
    try:
        with opened(config) as mesh:
            if not is_server(config):
                yield Finding("reachability", WELL, f"the {config.control_plane.partition(':')[0]} store answers")
            yield from _of_plane(mesh)
    except MeshError as error:
        yield Finding("connection", WRONG, str(error), "Is the path or host right, and the token of the right scope?")


def _of_plane(mesh: Mesh) -> Iterator[Finding]:
    yield from (look(mesh) for look in (_writable, _policies, _keys, _propagation))


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


def _writable(mesh: Mesh) -> Finding:
    try:
        probe = mesh.control_plane.probe().result(mesh.config.start_timeout)
    except TimeoutError:
        mend = "Look at the store's load and its disk"
        return Finding("store", WRONG, f"the store took no record within {mesh.config.start_timeout:g} s", mend)
    except MeshError as error:
        mend = "Is the disk full, or the file of another user? On a server this look needs a token of role operator"
        return Finding("store", WRONG, f"no record could be written: {error}", mend)
    said = f"a record was written and removed in {_ms(probe.written)}"
    if probe.written > SLOW:
        return Finding("store", WORTH, said, "The store is slow; look at its disk and its load")
    return Finding("store", WELL, said)


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
        mend = "Use a token of role publisher, or set MCP_SDK_SIGNING_KEYS alike everywhere"
        return Finding("keys", WORTH, "the control plane shares no signing keys with this caller", mend)
    ours = Keyring.parse(config.signing_keys)
    alike = [key.kid for key in shared if ours.find(key.kid) == key]
    if shared and not alike:
        mend = "Unset MCP_SDK_SIGNING_KEYS where services share a control plane, or set the same everywhere"
        return Finding("keys", WORTH, "MCP_SDK_SIGNING_KEYS holds none of the keys that the control plane shares", mend)
    kids = ", ".join(key.kid for key in ours.keys)
    return Finding("keys", WELL, f"baggage is signed with MCP_SDK_SIGNING_KEYS ({kids})")


def _propagation(mesh: Mesh) -> Finding:
    """Send a marked context from one service to another, by way of the header alone."""
    keys = Keyring.parse(mesh.config.signing_keys).keys if mesh.config.signing_keys else mesh.control_plane.keys()
    if not keys:
        mend = "See the finding on keys"
        return Finding("propagation", WORTH, "not looked at: there is no key to sign a context with", mend)
    carried = _carried(mesh, Keyring(tuple(keys)))
    if carried:
        return Finding("propagation", WELL, "a marked context that is signed here is believed here")
    mend = "Compare mesh, namespace, environment and MCP_SDK_SIGNING_KEYS of both sides, and their clocks"
    return Finding("propagation", WRONG, "a context that one side signs is not believed by the other", mend)


def _carried(mesh: Mesh, keys: Keyring) -> bool:
    model, now = BusinessModel("mcpctl_check"), time.time()
    mark = ModelContext(model.name, f"mark-{int(now)}", "sent")
    codec: Callable[[str], Codec] = lambda service: Codec(  # noqa: E731
        keys, _as_service(mesh.identity, service), Registry([model]), ttl=mesh.config.signature_ttl
    )
    header = codec("mcpctl-sender").encode([mark], now=now).header
    admitted = admit(codec("mcpctl-receiver").parse([header], now=now), "mesh")
    found = admitted.contexts.get(model.name)
    return found is not None and found.ref == mark.ref and found.trust is Trust.VERIFIED


def _as_service(identity: Identity, service: str) -> Identity:
    return Identity(service, identity.mesh, identity.namespace, identity.environment)
