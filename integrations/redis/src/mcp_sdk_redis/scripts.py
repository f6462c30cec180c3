"""The scripts that run in the server, where something must be read and written at once.

Each names in ``KEYS`` every key that it touches. Those that read may run on a replica and when memory is full; those
that erase may run when memory is full. https://redis.io/docs/latest/develop/programmability/eval-intro/
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files

__all__ = [
    "AFTER",
    "APPEND",
    "APPEND_AUDIT",
    "DEREGISTER",
    "ENDPOINTS",
    "FORGET",
    "HISTORY",
    "LISTING",
    "OPEN",
    "PUT_KEY",
    "PUT_MODELS",
    "PUT_POLICIES",
    "PUT_RECORD",
    "REGISTER",
    "RETAIN",
    "TIME",
    "Script",
]

_FOLDER = files("mcp_sdk_redis") / "lua"


@dataclass(frozen=True)
class Script:
    """A script: its text, and the digest by which the server knows it."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


def _script(name: str, *before: str, flags: str = "") -> Script:
    texts = [(_FOLDER / f"{part}.lua").read_text("utf-8") for part in (*before, name)]
    return Script("\n".join([f"#!lua flags={flags}" if flags else "#!lua", *texts]))


APPEND = _script("append", "_changes")
OPEN = _script("open", "_changes", flags="allow-oom")
FORGET = _script("forget", "_changes", "_erase", flags="allow-oom")
RETAIN = _script("retain", "_changes", "_erase", flags="allow-oom")
PUT_MODELS = _script("put_models", "_changes")
PUT_POLICIES = _script("put_policies", "_changes")
REGISTER = _script("register", "_changes")
DEREGISTER = _script("deregister", "_changes", flags="allow-oom")
PUT_KEY = _script("put_key", "_changes")
PUT_RECORD = _script("put_record", "_changes")
APPEND_AUDIT = _script("append_audit", "_changes")
AFTER = _script("after", flags="no-writes")
HISTORY = _script("history", flags="no-writes")
LISTING = _script("listing", flags="no-writes")
ENDPOINTS = _script("endpoints", flags="no-writes")
TIME = _script("time", flags="no-writes")
