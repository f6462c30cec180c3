"""``mcpctl demo shop`` as users run it: real processes, real traffic, nothing left behind."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import mcp_sdk_demo
import pytest

POLICIES = Path(mcp_sdk_demo.__file__).parent / "policies"
SHOP = 8


@pytest.fixture
def policies(tmp_path_factory):
    """A copy of the shipped policies, to be changed."""
    return Path(shutil.copytree(POLICIES, tmp_path_factory.mktemp("mine") / "policies"))


def test_two_at_the_same_time_pass_and_leave_nothing(demo):
    """Two side by side, on a file and on a server, pass all checks, print but JSON, leave no process and no file."""
    both = [demo.start("--output", "json"), demo.start("-o", "json", "--control-plane", "http")]
    for process in both:
        out, err = process.communicate(timeout=240)
        result = json.loads(out)
        failed = [check for check in result["checks"] if not check["passed"]]
        assert (process.returncode, result["passed"], failed) == (0, True, []), err
        assert {"name", "expected", "observed", "passed"} == set(result["checks"][0])
        assert len(result["samples"]) == 3
    assert demo.nothing_left()


def test_tables_name_every_rule(demo):
    """By default there is a line for each rule, the funnel, three explanations and the verdict, without colours."""
    out, _ = demo.start().communicate(timeout=240)
    for rule in ("vip", "large", "created", "promotion", "risky", "not-served", "burst", "signed-in", "merchandiser"):
        assert re.search(rf"^\w+ +{rule} +\d+ ", out, re.MULTILINE), rule
    assert re.search(r"^shipped +(\d+) +\1", out, re.MULTILINE)
    assert "Three decisions, explained" in out
    assert "passed: all" in out
    assert "\x1b[" not in out


def test_one_broken_policy_file_fails(demo, policies):
    """``--policies`` with a wrong threshold reports the check that failed, and exits with 1."""
    orders = policies / "orders.yaml"
    orders.write_text(orders.read_text().replace("> 1000", "> 1500"))
    process = demo.start("--policies", str(policies), "-o", "json")
    out, _ = process.communicate(timeout=240)
    result = json.loads(out)
    assert (process.returncode, result["passed"]) == (1, False)
    assert any(check["name"].startswith("orders/large") and not check["passed"] for check in result["checks"])
    assert demo.nothing_left()


def test_policies_that_do_not_compile_start_nothing(demo, policies):
    """Findings are printed with file, line and column; JSON says ``passed: false``; no process was started."""
    (policies / "orders.yaml").write_text(
        (policies / "orders.yaml").read_text().replace("order.amount", "order.amuont")
    )
    for options in ((), ("-o", "json")):
        process = demo.start("--policies", str(policies), *options)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert re.search(r"orders\.yaml:\d+:\d+: error MCP\d+: .*amuont", out)
    assert json.loads(out)["passed"] is False


@pytest.mark.parametrize(
    ("asked", "services", "later", "plane"),
    [
        (signal.SIGINT, 1, 0.0, "sqlite"),
        (signal.SIGINT, SHOP, 4.0, "http"),
        (signal.SIGTERM, SHOP, 1.0, "sqlite"),
        (signal.SIGKILL, SHOP, 3.0, "sqlite"),
        (signal.SIGKILL, SHOP, 3.0, "http"),
    ],
)
def test_being_stopped_leaves_nothing(demo, asked, services, later, plane):
    """Ctrl-C while it starts and while it trades, a termination, and even a kill leave neither process nor file."""
    process = demo.start("--control-plane", plane)
    demo.wait_for_services(services)
    time.sleep(later)
    process.send_signal(asked)
    process.communicate(timeout=30)
    assert process.returncode in (128 + asked, -asked)
    assert demo.nothing_left()


def test_kept_shop_answers_what_it_says(demo):
    """``--keep`` prints command lines that work when pasted, and Ctrl-C ends it with the checks' own status."""
    process = demo.start("--keep", "-o", "json")
    printed = _document(process)
    assert _statuses(printed["try"]) == [201, 201, 201, 403, 403, 403, None, 401, 200, 200, 200, 200]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert demo.nothing_left()


def _document(process):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            return json.loads("".join(lines))
    raise AssertionError(process.stderr.read())


def _statuses(commands):
    script = "\n".join(f"{each['command']}\necho; echo ====" for each in commands)
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60).stdout
    found = [re.search(r"HTTP/1.1 (\d+)", part) for part in out.split("====")[: len(commands)]]
    return [int(match[1]) if match else None for match in found]
