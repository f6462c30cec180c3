"""``python -m mcp_sdk.cli``: ``mcpctl`` where no script of that name is on the path."""

from mcp_sdk.cli.main import run

run()
