"""Changes as they happen, from the plane's thread to the verb that prints them, until Ctrl-C."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mcp_sdk.context import EntityRef
from mcp_sdk.mesh import Mesh
from mcp_sdk.ports import Change

__all__ = ["LIMIT", "POLL", "changes", "heard"]

POLL = 0.2
"""Seconds that a wait lasts, so that Ctrl-C is heard while nothing happens."""
LIMIT = 10_000
"""Changes that wait to be printed; more than that, and the oldest are not waited for."""


@contextmanager
def heard(mesh: Mesh, models: Iterable[str]) -> Iterator[queue.Queue[Change]]:
    """Give a queue of every change of some models from now on."""
    waiting: queue.Queue[Change] = queue.Queue(LIMIT)
    names = frozenset(models)

    def tell(change: Change) -> None:
        if _model(change) in names or change.kind == "resync":
            if waiting.full():
                waiting.get_nowait()
            waiting.put_nowait(change)

    end = mesh.control_plane.subscribe(tell)
    try:
        mesh.control_plane.listen(names)
        # answered after the server has heard what we listen to: frames of one stream are read in order
        mesh.control_plane.fetch([EntityRef(name, "") for name in names]).result(mesh.config.start_timeout)
        yield waiting
    finally:
        end()


def changes(waiting: queue.Queue[Change]) -> Iterator[Change]:
    """Yield changes as they come, until Ctrl-C."""
    try:
        while True:
            try:
                yield waiting.get(timeout=POLL)
            except queue.Empty:
                continue
    except KeyboardInterrupt:
        return


def _model(change: Change) -> str:
    if change.applied is not None:
        return change.applied.transition.model
    return change.ref.model if change.ref is not None else ""
