"""``mcpctl``: the command line. ``main`` receives argv, out and err; each verb is a module."""

import sys

try:
    from mcp_sdk.cli.main import main, run
except KeyboardInterrupt:  # before there is a main flow that could end as it does on Ctrl-C
    sys.exit(130)

__all__ = ["main", "run"]
