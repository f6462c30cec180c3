"""The W3C's own tests of its two headers, run from checkouts that the environment names; none of their text is here."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import free_port

logger = logging.getLogger(__name__)
HERE = Path(__file__).parent
TRACE_CONTEXT = os.environ.get("MCP_SDK_W3C_TRACE_CONTEXT", "")
BAGGAGE = os.environ.get("MCP_SDK_W3C_BAGGAGE", "")


@contextmanager
def service(kind: str) -> Iterator[str]:
    """Run the service behind the harness, and give its URL once it listens."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(HERE / "w3c_service.py"), str(port), kind])
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, f"the {kind} service ended with {process.returncode}"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/test"
    finally:
        process.terminate()
        process.wait(10)


def passes(output: str) -> int:
    """Give the number of tests that passed, by unittest's summary."""
    ran = re.search(r"^Ran (\d+) tests", output, re.MULTILINE)
    assert ran is not None, output[-2000:]
    failed = re.search(r"^FAILED \((.*)\)", output, re.MULTILINE)
    return int(ran[1]) - sum(map(int, re.findall(r"(?:failures|errors|skipped)=(\d+)", failed[1] if failed else "")))


def harness(kind: str) -> int:
    """Run the trace-context harness against one kind of service at its strictest, and count passes."""
    environment = os.environ | {"STRICT_LEVEL": "2", "SPEC_LEVEL": "2", "HARNESS_PORT": str(free_port())}
    with service(kind) as url:
        done = subprocess.run(
            [sys.executable, "test.py", url],
            cwd=Path(TRACE_CONTEXT) / "test",
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    return passes(done.stderr)


@pytest.mark.skipif(not TRACE_CONTEXT, reason="MCP_SDK_W3C_TRACE_CONTEXT names no checkout of w3c/trace-context")
def test_the_mesh_loses_no_pass_of_the_trace_context_harness() -> None:
    """Our middleware and transport pass on the trace's headers as well as plain OpenTelemetry does: 37 of 41."""
    if importlib.util.find_spec("aiohttp") is None:
        pytest.skip("the harness needs aiohttp: pip install aiohttp")
    without, within = harness("plain"), harness("mesh")
    logger.info("trace-context harness: %d passes without the mesh, %d with it", without, within)
    assert within >= without >= 37


@pytest.mark.skipif(not BAGGAGE, reason="MCP_SDK_W3C_BAGGAGE names no checkout of w3c/baggage")
def test_the_codec_passes_the_tests_of_the_baggage_repository() -> None:
    """All of them, through an adapter that has our codec's functions behind their names."""
    done = subprocess.run(
        [sys.executable, str(HERE / "w3c_baggage.py"), BAGGAGE], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    logger.info("baggage tests: %d passes", passes(done.stderr))
