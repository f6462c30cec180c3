"""mcp-sdk on Redis: the store of a mesh that runs on many machines."""

from mcp_sdk_redis.options import Options
from mcp_sdk_redis.store import RedisStore, connect

__all__ = ["Options", "RedisStore", "connect"]
