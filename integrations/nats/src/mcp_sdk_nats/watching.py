"""Positions in the log, and what comes after one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mcp_sdk.ports import Change, Cursor
from mcp_sdk_nats.messages import changes
from mcp_sdk_nats.replica import Replica
from mcp_sdk_nats.view import View

__all__ = ["after", "position"]

_CURSOR = re.compile(r"(\w+):(\d{1,19})(?:\.(\d{1,9}))?", re.ASCII)


def position(view: View) -> Cursor:
    """Give the position after everything in a view."""
    return Cursor(f"{view.identity}:{view.sequence}")


async def after(replica: Replica, cursor: Cursor) -> Sequence[Change]:
    """Give the changes after a position, those of a page of messages at most; none when there are none yet."""
    view, found = replica.view, _CURSOR.fullmatch(cursor)
    if found is None or found[1] != view.identity or not view.trimmed <= int(found[2]) <= view.sequence:
        return [Change("resync", position(view))]
    sequence, place = int(found[2]), int(found[3]) if found[3] else None
    heard: list[Change] = []
    start = sequence if place is None else sequence - 1
    while not heard and start < view.sequence:
        messages = await replica.messages(start)
        for number, message in messages:
            if message is not None:
                skipped = place if number == sequence and place is not None else 0
                told = changes(view.identity, number, message)
                heard += [each for each in told if _place(each) > skipped]
        if not messages:
            break
        start = messages[-1][0]
    return heard


def _place(change: Change) -> int:
    return int(change.cursor.rpartition(".")[2])
