"""A store on NATS JetStream for ``mcp-sdk``: ``nats://host:4222/name``."""

from mcp_sdk_nats.store import NatsStore, connect

__all__ = ["NatsStore", "connect"]
