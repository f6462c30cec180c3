"""``mcpctl rollout``, over a real server and service."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from minting import mint_client
from serving import Replica
from verbs import ORDER

from mcp_sdk import Config, DecisionRequest, Mesh, ModelContext
from mcp_sdk.cli import main
from mcp_sdk.decisions import Principal
from mcp_sdk.server.access.callers import Grant

POLICY = """\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: orders}
spec:
  target: {service: shop}
  default: permit
  rules:
  - {name: large, when: "order.state == 'STATE'", effect: deny}
"""
MODELS = "models:\n- {name: order, key: number, states: [created, paid], attributes: [{name: amount, type: decimal}]}\n"


class Mcpctl:
    """Types ``mcpctl`` in a folder with policies."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.err = folder / "policies", "", ""
        self.folder.mkdir()
        (self.folder / "models.yaml").write_text(MODELS)
        self.write("paid")

    def write(self, state: str) -> None:
        """Have the files refuse orders in a state."""
        (self.folder / "orders.yaml").write_text(POLICY.replace("STATE", state))

    def __call__(self, *argv: str) -> int:
        out, err = StringIO(), StringIO()
        status = main(argv, out, err)
        self.out, self.err = out.getvalue(), err.getvalue()
        return status

    def start(self, stages: str, *more: str) -> int:
        """Begin a rollout of the files."""
        return self("rollout", "start", str(self.folder), "--stages", stages, *more)


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """A server over a file of its own."""
    with Replica(tmp_path) as running:
        yield running


@pytest.fixture
def mcpctl(replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mcpctl:
    """Types as the admin of a server that has the policies in force."""
    monkeypatch.setenv("MCP_SDK_CONTROL_PLANE", replica.url)
    monkeypatch.setenv("MCP_SDK_TOKEN", replica.token)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    typed = Mcpctl(tmp_path)
    assert typed("apply", str(typed.folder)) == 0, typed.err
    return typed


def decide(mesh: Mesh, count: int) -> None:
    """Decide calls on a created order once the service tries the candidate."""
    contexts = {"order": ModelContext("order", "o-1", "created")}
    request = DecisionRequest("shop", "GET /orders", contexts=contexts, principal=Principal("ada", authenticated=True))
    deadline = time.monotonic() + 30
    while mesh.control_plane.decide(request).rolled is None:
        assert time.monotonic() < deadline, "the service heard of no candidate"
        time.sleep(0.02)
    for _ in range(count):
        mesh.decide(request)


def test_a_rollout_is_watched_until_it_is_stopped(replica: Replica, mcpctl: Mcpctl) -> None:
    """Its exit status says so to a pipeline, and a table to people."""
    mcpctl.write("created")
    assert mcpctl.start("shadow:10m", "--minimum", "20") == 0
    assert "begins with shadow, over revision 1" in mcpctl.out
    config = Config(service="shop", control_plane=replica.url, token=replica.token, start_timeout=30)
    with Mesh(config, models=[ORDER]) as mesh:
        decide(mesh, 20)
    assert mcpctl("rollout", "status", "--watch") == 1
    assert "100.00% more decisions refused in 20, and 1.00% is the limit" in mcpctl.out
    assert mcpctl("rollout", "status", "-o", "json") == 0
    (counted,) = json.loads(mcpctl.out)["rollout"]["history"]
    assert counted.pop("decisions") == counted.pop("candidate_refusals") == counted.pop("newly_refused") == 20
    assert counted.pop("candidate_decisions") == counted.pop("newly_permitted") == counted.pop("faults") == 0
    assert all(name.startswith(("current_", "candidate_")) and value == 0 for name, value in counted.items())


def test_what_is_printed_to_follow_it_follows_it(mcpctl: Mcpctl) -> None:
    """In the environment that it began in; where there is none, a watch is no success, and says where it looked."""
    assert mcpctl("rollout", "status", "--watch", "-e", "qa") == 3
    assert mcpctl.out == (
        "no policy change was rolled out in default/qa yet. Begin one with: mcpctl rollout start policies/ -e qa\n"
    )
    assert mcpctl("apply", str(mcpctl.folder), "-e", "qa") == 0
    assert mcpctl.start("shadow:10m", "-e", "qa") == 0
    assert mcpctl.err.splitlines()[-1] == "follow it with: mcpctl rollout status --watch -e qa"
    assert mcpctl("rollout", "status", "-e", "qa", "-o", "json") == 0
    assert set(json.loads(mcpctl.out)["counts"].values()) == {0}
    assert mcpctl("protect", "-e", "qa") == 0
    mcpctl.write("created")
    assert mcpctl("apply", str(mcpctl.folder), "-e", "qa") == 3
    assert re.search(r"mcpctl approve c-\w+ -e qa\n$", mcpctl.err)


def test_a_narrow_terminal_breaks_no_word(mcpctl: Mcpctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage takes three lines there, each with its words."""
    assert mcpctl.start("shadow:10m,5%:10m") == 0
    assert mcpctl("rollout", "advance") == 0
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal()
    assert main(["rollout", "status"], out, StringIO()) == 0
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-6:] == [
        line
        for stage in ("shadow", "5 %")
        for line in (
            f"{stage}: 0 decisions, 0 newly refused, 0 newly permitted",
            "  refused -, by the candidate -",
            "  errors -, of the candidate -",
        )
    ]


class Terminal(StringIO):
    """What says that it is a terminal; ``COLUMNS`` says how wide it is."""

    def isatty(self) -> bool:
        return True


def test_warnings_are_shown_at_the_start_and_stop_nothing(mcpctl: Mcpctl) -> None:
    """As ``apply`` shows them, and in the answer for machines under ``findings``."""
    assert mcpctl.start("shadow:10m") == 0
    warning, line, mark, follow = mcpctl.err.splitlines()
    assert warning.startswith(f"{mcpctl.folder}/orders.yaml:8:26: warning MCP0101: rule 'large' refuses")
    assert (line, mark) == (f"     8 | {POLICY.replace('STATE', 'paid').splitlines()[7]}", "       | " + " " * 25 + "^")
    assert follow == "follow it with: mcpctl rollout status --watch"
    assert mcpctl.out.endswith(" begins with shadow, over revision 1\n")
    assert mcpctl("rollout", "stop", "--reason", "once more") == 0
    assert mcpctl.start("shadow:10m", "-o", "json") == 0
    said = json.loads(mcpctl.out)
    assert (said["rollout"]["base"], [each["code"] for each in said["findings"]]) == (1, ["MCP0101"])
    assert mcpctl.err == ""


def test_files_that_do_not_compile_begin_nothing(mcpctl: Mcpctl) -> None:
    """Their errors are told as ``apply`` tells them, without the warnings."""
    mcpctl.write("stolen")
    assert mcpctl.start("shadow:10m") == 1
    assert "orders.yaml:8:" in mcpctl.err
    assert "MCP0023" in mcpctl.err
    assert "MCP0101" not in mcpctl.err
    assert mcpctl("rollout", "status") == 0
    assert "no policy change was rolled out in default/default yet" in mcpctl.out


def test_an_operator_goes_on_or_stops(mcpctl: Mcpctl) -> None:
    """Of none at all it is said how to begin."""
    assert mcpctl("rollout", "status") == 0
    assert "mcpctl rollout start policies/" in mcpctl.out
    assert mcpctl.start("shadow:10m,5%:10m") == 0
    assert mcpctl("rollout", "advance") == 0
    assert "goes on with 5 %" in mcpctl.out
    assert mcpctl("rollout", "status") == 0
    assert "0 of 100 decisions counted" in mcpctl.out
    assert mcpctl.start("5%:10m") == 3
    assert "Stop it first" in mcpctl.err
    assert mcpctl("rollout", "stop", "--reason", "support is flooded") == 0
    assert "is stopped: support is flooded" in mcpctl.out
    assert mcpctl("rollout", "advance") == 3
    assert "no rollout runs in default/default" in mcpctl.err


def test_files_that_were_made_from_an_older_revision_begin_nothing(mcpctl: Mcpctl) -> None:
    """It is said who published since, as ``apply`` says it, and how to go on with this verb."""
    mcpctl.write("created")
    assert mcpctl("apply", str(mcpctl.folder)) == 0
    assert mcpctl.start("shadow:10m", "--replaces", "1") == 3
    assert "nothing was changed: revision 1 was to be replaced, and since then came revision 2 by " in mcpctl.err
    assert "mcpctl diff --from 1. Take it into your files, and roll them out with --replaces 2\n" in mcpctl.err
    assert mcpctl.start("shadow:10m", "--replaces", "2") == 0


def test_a_reason_that_says_nothing_stops_nothing(mcpctl: Mcpctl) -> None:
    """It is refused before the server is asked, with what is wanted."""
    assert mcpctl.start("shadow:10m") == 0
    for reason, said in (("x", "'x' says nothing"), ("x" * 501, "501 characters: 500 at the most")):
        assert mcpctl("rollout", "stop", "--reason", reason) == 2
        assert f"--reason {said}" in mcpctl.err.replace("has ", "")
    assert mcpctl("rollout", "status") == 0
    assert "shadow since" in mcpctl.out


def test_a_watch_in_a_pipe_tells_what_is_new_and_at_once(mcpctl: Mcpctl) -> None:
    """A table again where nothing was counted is noise; Ctrl-C ends it as it ends any verb."""
    assert mcpctl.start("shadow:10m", "--minimum", "1") == 0
    command = [sys.executable, "-m", "mcp_sdk.cli", "rollout", "status", "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(3.5)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert ("shadow since" in first, rest.count("since"), rest.count("shadow")) == (True, 0, 1)
    assert process.returncode == 130


def test_a_rollout_that_is_held_says_who_lets_it_go_on(
    replica: Replica, mcpctl: Mcpctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kind was protected meanwhile: status and advance name the change, and another person's approval goes on."""
    mcpctl.write("created")
    assert mcpctl.start("shadow:10m,5%:10m") == 0
    assert mcpctl("protect", "--kind", "AccessPolicy") == 0
    assert mcpctl("rollout", "advance") == 1
    said = re.search(r"(r-\w+) is held at shadow: AccessPolicy needs a second .*: mcpctl approve (c-\w+)$", mcpctl.out)
    assert said is not None, mcpctl.out
    assert mcpctl("rollout", "status") == 0
    assert re.search(f"held at shadow, AccessPolicy needs a second approver .*: mcpctl approve {said[2]}\n", mcpctl.out)
    assert mcpctl("changes") == 0
    assert f"AccessPolicy, by the rollout {said[1]}" in mcpctl.out
    with mint_client(replica, Grant("operator")) as other:
        monkeypatch.setenv("MCP_SDK_TOKEN", other.headers["authorization"].removeprefix("Bearer "))
        assert mcpctl("approve", said[2]) == 0
    assert mcpctl.out == f"the rollout {said[1]} goes on\n"
    assert mcpctl("rollout", "advance") == 0
    assert "goes on with 5 %" in mcpctl.out


@pytest.mark.parametrize(
    ("stages", "why"),
    [
        ("5:10m", "'5' is no share"),
        ("5%", "does not say for how long"),
        ("50%:1m,5%:1m", "each stage has a greater share"),
        ("500%:1m", "from 0% to 100%"),
        ("5%:long", "is no length of time"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_an_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: str, why: str
) -> None:
    """Before anybody is asked."""
    monkeypatch.setenv("MCP_SDK_CONTROL_PLANE", "http://127.0.0.1:1")
    typed = Mcpctl(tmp_path)
    assert typed.start(stages) in (2, 3)
    assert why in typed.err


@pytest.mark.parametrize("action", ["start", "status", "advance", "stop"])
def test_each_action_teaches(action: str) -> None:
    """With its options."""
    out = StringIO()
    assert main(("rollout", action, "--help"), out, StringIO()) == 0
    assert "--store" in out.getvalue()
