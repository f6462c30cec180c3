"""``mcpctl policy``: work on policies, a module for each verb."""

from mcp_sdk.cli.policy.main import COMMAND

__all__ = ["COMMAND"]
