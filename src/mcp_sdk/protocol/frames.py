"""The stream of one client: JSON frames over a WebSocket (RFC 6455), ``/v1/stream``.

A frame is an object whose ``op`` says what it is. The client speaks first, with ``hello``.

    client  hello     {"protocol": [1], "namespace", "environment", "service", "instance", "cursor", "models": […],
                       "evaluation": "local" or "server"}; the service ``mcpctl`` looks on, and no key is made for it
            listen    {"models": […]}                 have transitions of these models told
            get       {"id": n, "refs": [[model, id], …]}   look up, and hold: hear of every change from now on
            decide    {"id": n, "question": {…}}      decide it there (module ``questions``)
            drop      {"refs": [[model, id], …]}      hold no longer
            decision  {"record": {…}, "dropped": n}   a decision that somebody wants to see, masked as the log is
            counted   {"stages": [{"rollout", "stage", "counts": {…}}, …]}   what was counted of a rollout
                      since the last time (``mcp_sdk.rollout.Counts``)
    server  welcome   {"protocol": 1, "cursor", "server", "time"}
            manifest  {"envelope": {…}, "key": hex, "parts": {name: text}}   what is in force; of the parts, the small
                      ones: the others are fetched by digest
            services  {"endpoints": [{…}, …]}
            keys      {"keys": [{"kid", "secret": base64}, …]}
            contexts  {"id": n, "contexts": [{…}, …]}
            decided   {"id": n, "answer": {…}}
            change    a change: of an entity that is held, or a transition that is listened to
            dropped   {"refs": [[model, id], …]}      these are held no longer, for there are too many
            resync    {"cursor"}                      some changes were missed, and answers perhaps: drop what was
                      learned by them, and ask again what was not answered
            failed    {"id": n, "detail"}             a ``get`` or ``decide`` that could not be answered
            tap       {"filters": [{…}, …], "rate": n}   send decisions that fit one, n a second; none: stop
            bye       {"after": seconds}              the server goes; come back after about that long

Unknown members are passed over, an unknown ``op`` too, so that either side may be a version ahead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.protocol.plain import loads

__all__ = ["CLOSE_REFUSED", "LOOKER", "MOST_ID", "MOST_NAME", "MOST_REFS", "PROTOCOL", "frame", "negotiate", "read"]

PROTOCOL = 1
CLOSE_REFUSED = 4400
"""The WebSocket close code of a stream that was refused for what the client said; trying again will not help."""
LOOKER = "mcpctl"
"""The service name of who only looks on: to look at a scope leaves no signing key in it."""
MOST_REFS = 1_000
"""Entities that one frame names."""
MOST_NAME, MOST_ID = 200, 4_096
"""Characters of a model's name and of an entity's id. Longer ones are nobody's, and are not looked up."""


def frame(op: str, **members: Any) -> str:
    """Write a frame."""
    return json.dumps({"op": op, **members}, separators=(",", ":"), ensure_ascii=False)


def read(text: str | bytes) -> dict[str, Any]:
    """Read a frame; raises ``ProtocolError`` for anything else."""
    plain = loads(text)
    if not isinstance(plain, dict) or not isinstance(plain.get("op"), str):
        raise ProtocolError("a frame is a JSON object with an 'op'")
    return plain


def negotiate(offered: Iterable[Any]) -> int:
    """Choose the protocol's version among those that a client offers; raises ``ProtocolError`` where none is known."""
    found = [version for version in offered if version == PROTOCOL]
    if not found:
        raise ProtocolError(f"no common version of the protocol: this side speaks {PROTOCOL}, not {offered!r:.60}")
    return PROTOCOL
