"""mcp-sdk for SQLAlchemy: transitions wait for the outermost commit of the session, and die with its rollback."""

from mcp_sdk_sqlalchemy.commits import SessionCommits, install
from mcp_sdk_sqlalchemy.filters import filter_for
from mcp_sdk_sqlalchemy.rows import LoadedRows

__all__ = ["LoadedRows", "SessionCommits", "filter_for", "install"]
