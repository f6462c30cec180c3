"""``install``: one line that makes a mesh know SQLAlchemy's sessions."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from mcp_sdk import Mesh
from mcp_sdk_sqlalchemy.commits import SessionCommits
from mcp_sdk_sqlalchemy.rows import LoadedRows

__all__ = ["install"]


def install(mesh: Mesh, sessions: Any = Session) -> SessionCommits:
    """Make a mesh's transitions wait for the commits of sessions, and read rows without loading them.

    ``sessions`` narrows that to a ``Session`` subclass, a ``sessionmaker`` or one session; an ``async_sessionmaker`` is
    narrowed by the ``sync_session_class`` that it was given. The result's ``close`` ends it.
    """
    rows = LoadedRows(mesh.models, sessions)
    port = SessionCommits(sessions)
    mesh.on_commit(port)
    port.on_close(rows.close)
    return port
