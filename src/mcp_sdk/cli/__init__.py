"""``mcpctl``: the command line. ``main`` receives argv, out and err; each verb is a module."""

from mcp_sdk.cli.main import main, run

__all__ = ["main", "run"]
