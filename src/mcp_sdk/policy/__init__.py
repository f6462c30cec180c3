"""The policy engine: YAML and CEL in, decisions out. Pure: no I/O, no threads, no network.

Compiling needs the extra ``policy``; applying what is compiled needs nothing beyond it but RE2 or xxhash where a
program uses them.
"""

from mcp_sdk.policy.compile import check_policies, compile_and_report, compile_policies, report_on, require_namespace
from mcp_sdk.policy.engine import Engine
from mcp_sdk.policy.explain import explain

__all__ = [
    "Engine",
    "check_policies",
    "compile_and_report",
    "compile_policies",
    "explain",
    "report_on",
    "require_namespace",
]
