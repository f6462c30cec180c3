"""The store of mcp-sdk on PostgreSQL, for many machines."""

from mcp_sdk_postgres.store import PostgresStore, connect

__all__ = ["PostgresStore", "connect"]
