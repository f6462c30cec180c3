"""Values of the ports as plain JSON, and back: what bodies and frames are made of.

Reading raises ``ProtocolError`` that says what does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.exceptions import MeshError, ProtocolError
from mcp_sdk.ports import AppendResult, AppendStatus, Applied, Change, Cursor
from mcp_sdk.snapshot import PolicyRevision

__all__ = [
    "applied_from_plain",
    "change_from_plain",
    "each",
    "loads",
    "plain_applied",
    "plain_change",
    "plain_result",
    "plain_revision",
    "ref_from_plain",
    "require_characters",
    "result_from_plain",
    "revision_from_plain",
]

T = TypeVar("T")


def loads(text: str | bytes) -> Any:
    """Read JSON in UTF-8; raises ``ProtocolError`` for anything else, too deep a nesting included."""
    try:
        written = text if isinstance(text, str) else text.decode()
        plain = json.loads(written)
        require_characters(written, plain)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {str(error)[:120]}") from error
    return plain


def require_characters(text: str, plain: Any) -> None:
    """Raise ``UnicodeEncodeError`` where JSON that was read as ``plain`` holds half of a surrogate pair.

    It is no character, and could be neither stored nor sent on.
    """
    if "\\ud" in text or "\\uD" in text:
        json.dumps(plain, ensure_ascii=False).encode()
    elif not text.isascii():
        text.encode()


def each(make: Callable[[Any], T], plain: Iterable[Any]) -> list[T]:
    """Read every item of a list; raises ``ProtocolError``."""
    try:
        return [make(item) for item in plain]
    except MeshError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"an item does not fit: {error!r:.120}") from error


def ref_from_plain(plain: Any) -> EntityRef:
    """Read ``[model, id]``."""
    if not isinstance(plain, list) or len(plain) != 2 or not all(isinstance(part, str) for part in plain):
        raise ProtocolError(f"an entity is [model, id], not {str(plain)[:80]}")
    return EntityRef(*plain)


def plain_result(result: AppendResult) -> dict[str, Any]:
    """Give what became of a transition: ``{"status", "revision", "since"}``, ``since`` in seconds or null."""
    return {"status": result.status.value, "revision": result.revision, "since": result.since}


def result_from_plain(plain: Any) -> AppendResult:
    """Read what ``plain_result`` wrote."""
    try:
        return AppendResult(AppendStatus(plain["status"]), plain["revision"], plain.get("since"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"not the result of a transition: {error!r:.120}") from error


def plain_applied(applied: Applied) -> dict[str, Any]:
    """Give a transition with its outcome: ``{"transition", "status", "context"}``."""
    return {
        "transition": applied.transition.to_dict(),
        "status": applied.status.value,
        "context": applied.context.to_dict(),
    }


def applied_from_plain(plain: Any) -> Applied:
    """Read what ``plain_applied`` wrote."""
    try:
        transition, context = Transition.from_dict(plain["transition"]), ModelContext.from_dict(plain["context"])
        return Applied(transition, AppendStatus(plain["status"]), context)
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"not a transition with its outcome: {error!r:.120}") from error


def plain_change(change: Change) -> dict[str, Any]:
    """Give one step of a watch: ``{"kind", "cursor", "namespace", "environment", "applied", "ref", "record"}``."""
    return {
        "kind": change.kind,
        "cursor": change.cursor,
        "namespace": change.scope.namespace,
        "environment": change.scope.environment,
        "applied": None if change.applied is None else plain_applied(change.applied),
        "ref": None if change.ref is None else list(change.ref),
        "record": change.record,
    }


def change_from_plain(plain: Any) -> Change:
    """Read what ``plain_change`` wrote."""
    try:
        return Change(
            plain["kind"],
            Cursor(plain["cursor"]),
            Scope(plain["namespace"], plain["environment"]),
            None if plain["applied"] is None else applied_from_plain(plain["applied"]),
            None if plain["ref"] is None else ref_from_plain(plain["ref"]),
            plain.get("record", ""),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"not a change: {error!r:.120}") from error


def plain_revision(revision: PolicyRevision) -> dict[str, Any]:
    """Give a revision of the policy set, for people: without its programs."""
    return {
        "revision": revision.revision,
        "author": revision.author,
        "created_at": revision.created_at,
        "sources": dict(revision.sources),
    }


def revision_from_plain(plain: Mapping[str, Any]) -> PolicyRevision:
    """Read what ``plain_revision`` wrote."""
    try:
        return PolicyRevision(plain["revision"], {}, plain["sources"], plain["author"], plain["created_at"])
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"not a revision: {error!r:.120}") from error
