"""The main flow of ``mcpctl``."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk import BusinessModel, Mesh
from mcp_sdk.cli import main
from mcp_sdk.cli.main import parser_of_all
from mcp_sdk.cli.output import Output

POLICY = """\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: orders}
spec:
  target: {service: order-service}
  rules:
  - {name: created, when: "order.state == 'created'", route: {version: v2}}
  default: {version: v1}
"""
MODELS = """\
models:
- {name: order, key: number, states: [created, paid], attributes: [{name: amount, type: decimal}]}
"""


class Shell:
    """Runs command lines in a folder that holds policies, models and a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'mesh.db'}"
        self.out = self.err = ""

    def __call__(self, *argv: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        status = main(argv, out, err)
        self.out, self.err = out.getvalue(), err.getvalue()
        return status


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "orders.yaml").write_text(POLICY)
    (policies / "models.yaml").write_text(MODELS)
    return Shell(tmp_path)


@pytest.fixture
def orders(shell: Shell) -> Shell:
    model = BusinessModel("order", key="number", states=("created", "paid"), attributes={"amount": "decimal"})
    with Mesh(service="orders", control_plane=shell.url, models=[model]) as mesh:
        mesh.publish("order", "o-1", state="created", amount="12.50")
        mesh.publish("order", "o-2", state="paid")
    return shell


def test_without_a_verb_it_teaches(shell: Shell) -> None:
    """Without a verb the help is printed, with examples, and the status says that nothing was done."""
    assert shell() == 2
    assert "mcpctl demo shop" in shell.out


def test_an_unknown_verb_names_the_nearest(shell: Shell) -> None:
    """A misspelt verb names the nearest one on standard error."""
    assert shell("appply", "x") == 2
    assert "Did you mean 'apply'?" in shell.err
    assert shell.out == ""


def command(shell: Shell, *argv: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run the console script as a process of its own."""
    script = [sys.executable, "-c", "from mcp_sdk.cli import run; run()", *argv, "-s", shell.url]
    return subprocess.run(script, text=True, timeout=60, check=False, **({"stderr": subprocess.PIPE} | settings))


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("models:", "models.yaml:1:1: error MCP0005: models file: 'models' is required"),
        (
            "models: [{nme: order}]",
            "models.yaml:1:11: error MCP0004: models[1]: unknown key 'nme'. Did you mean",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["explain", "apply"])
def test_a_mistake_in_a_models_file_is_said_by_every_verb(shell: Shell, verb: str, models: str, said: str) -> None:
    """With file, line, column and code."""
    (shell.folder / "policies" / "models.yaml").write_text(models)
    policies = str(shell.folder / "policies")
    argv = {"explain": ("orders", "-p", policies), "apply": (policies, "-s", shell.url)}[verb]
    assert shell(verb, *argv) == 1
    assert said in shell.err


def test_who_closes_the_pipe_hears_nothing(orders: Shell) -> None:
    """``mcpctl get order | head -1`` ends as SIGPIPE ends other commands: without a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    done = command(orders, "get", "order", "-o", "json", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_cannot_be_written_is_a_failure(orders: Shell) -> None:
    """A full disk is said in a line."""
    with Path("/dev/full").open("w") as full:
        done = command(orders, "get", "order", "-o", "json", stdout=full)
    assert done.returncode == 3
    assert done.stderr.startswith("mcpctl: ")
    assert "Traceback" not in done.stderr


def test_what_a_terminal_cannot_show_is_written_with_backslashes(shell: Shell) -> None:
    """An id in another script breaks no listing where the locale is C."""
    with Mesh(service="orders", control_plane=shell.url, models=[BusinessModel("order")]) as mesh:
        mesh.publish("order", "gr\u00fcn", state="created")
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = command(shell, "get", "order", stdout=subprocess.PIPE, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "gr\\xfcn" in done.stdout


def test_a_verb_of_a_product_that_is_not_installed_says_what_to_install(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo is a package of its own."""
    monkeypatch.setattr(sys.modules["mcp_sdk.cli.main"], "entry_points", lambda group: ())
    assert shell("demo", "shop") == 2
    assert "pip install mcp-sdk-demo" in shell.err


@pytest.mark.parametrize(
    "argv", [("policy", "check", "policies"), ("get", "models", "-o", "yaml", "-s", "sqlite:///mesh.db")]
)
def test_without_yaml_it_says_what_to_install(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]
) -> None:
    """Reading models and printing YAML need the extra, as reading policies does."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.chdir(shell.folder)
    Path("mesh.db").touch()
    assert shell(*argv) == 3
    assert 'pip install "mcp-sdk[policy]"' in shell.err


def test_a_verb_without_its_arguments_says_how_to_be_helped(shell: Shell) -> None:
    """Missing arguments are named, with the command that explains them."""
    assert shell("get") == 2
    assert "WHAT" in shell.err
    assert "mcpctl get --help" in shell.err


def test_the_version_is_printed(shell: Shell) -> None:
    """``--version`` prints the version and succeeds."""
    assert shell("--version") == 0
    assert shell.out.startswith("mcpctl ")


def test_policy_check_places_each_finding(shell: Shell) -> None:
    """A misspelt state is found with file, line and column, the nearest state, and a failing status."""
    (shell.folder / "policies" / "orders.yaml").write_text(POLICY.replace("'created'", "'creatd'"))
    assert shell("policy", "check", str(shell.folder / "policies")) == 1
    assert "orders.yaml:7:" in shell.out
    assert "Did you mean 'created'?" in shell.out


def test_apply_declares_the_models_of_its_files(shell: Shell) -> None:
    """Models that stand beside the policies are declared with them, so that ``create`` knows them afterwards."""
    assert shell("apply", str(shell.folder / "policies"), "-s", shell.url) == 0
    assert shell("get", "models", "-s", shell.url, "-o", "json") == 0
    assert json.loads(shell.out) == [
        {"model": "order", "key": "number", "states": ["created", "paid"], "attributes": ["amount"]}
    ]


def test_policy_check_prints_json(shell: Shell) -> None:
    """Good policies give an empty list of findings as JSON, and succeed."""
    assert shell("policy", "check", str(shell.folder / "policies"), "-o", "json") == 0
    assert json.loads(shell.out)["findings"] == []


def test_apply_puts_policies_in_force(orders: Shell) -> None:
    """Applied policies are listed by ``get policies`` with their revision, by another process's connection."""
    assert orders("apply", str(orders.folder / "policies"), "-s", orders.url) == 0
    assert "revision 1" in orders.out
    assert orders("get", "policies", "-s", orders.url, "-o", "json") == 0
    assert json.loads(orders.out) == [
        {"kind": "TrafficPolicy", "name": "orders", "service": "order-service", "revision": 1}
    ]


def test_a_dry_run_changes_nothing(orders: Shell) -> None:
    """``apply --dry-run`` compiles, and leaves the policies in force as they were."""
    assert orders("apply", str(orders.folder / "policies"), "-s", orders.url, "--dry-run") == 0
    orders("get", "policies", "-s", orders.url, "-o", "json")
    assert json.loads(orders.out) == []


def test_a_set_that_does_not_compile_changes_nothing(orders: Shell) -> None:
    """A finding stops ``apply`` before anything changes."""
    orders("apply", str(orders.folder / "policies"), "-s", orders.url)
    (orders.folder / "policies" / "orders.yaml").write_text(POLICY.replace("order.state", "ordr.state"))
    assert orders("apply", str(orders.folder / "policies"), "-s", orders.url) == 1
    assert "orders.yaml:7:" in orders.err
    orders("get", "policies", "-s", orders.url, "-o", "json")
    assert json.loads(orders.out)[0]["revision"] == 1


def test_get_lists_entities_by_state(orders: Shell) -> None:
    """``get order --state created`` shows only orders in that state, decimals in major units."""
    assert orders("get", "order", "--state", "created", "-s", orders.url) == 0
    assert re.search(r"o-1 +created +1 +\S{19}Z +orders +amount=12.50$", orders.out, re.MULTILINE)
    assert "o-2" not in orders.out


def test_machines_get_attributes_by_name(orders: Shell) -> None:
    """A decimal in major units, the moment to the millisecond."""
    assert orders("get", "order", "o-1", "-s", orders.url, "-o", "json") == 0
    (found,) = json.loads(orders.out)
    assert found["attributes"] == {"amount": "12.50"}
    assert re.fullmatch(r"\S{23}\+00:00", found["observed_at"])


def test_a_narrow_terminal_folds_no_moment(orders: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entity whose line is too long takes two."""
    with Mesh(service="orders", control_plane=orders.url) as mesh:
        mesh.publish("order", "3e1f0c52-93b5-4c0b-8f2a-7b6a8f1d2c3e", state="paid", amount="1.00")
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal()
    assert main(["get", "order", "3e", "-s", orders.url], out, io.StringIO()) == 0
    first, second = out.getvalue().splitlines()
    assert re.fullmatch(r"3e1f0c52-93b5-4c0b-8f2a-7b6a8f1d2c3e  paid  1  \S{19}Z", first)
    assert second == "    orders  amount=1.00"


class Terminal(io.StringIO):
    """What says that it is a terminal; ``COLUMNS`` says how wide it is."""

    def isatty(self) -> bool:
        return True


def _helps(parser: ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    yield " ".join(path), parser.format_help()
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for name, below in action.choices.items():
                yield from _helps(below, (*path, name))


def test_every_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each verb, and of each verb below one; the demo is another package's."""
    monkeypatch.setenv("COLUMNS", "80")
    wide = [
        f"mcpctl {verb}: {line}"
        for verb, text in _helps(parser_of_all(Output(io.StringIO(), io.StringIO())))
        for line in text.splitlines()
        if len(line) > 80 and verb not in ("demo", "demo shop")
    ]
    assert wide == []


def test_ctrl_c_while_the_verbs_are_loaded_ends_it(tmp_path: Path) -> None:
    """As it ends it later: with the status of SIGINT and without a traceback."""
    program = """\
import sys
import mcp_sdk

class Pressed:
    def find_spec(self, name, path=None, target=None):
        if name == "mcp_sdk.cli.main":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Pressed())
from mcp_sdk.cli import run
run()
"""
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_get_of_an_unknown_model_names_the_nearest(orders: Shell) -> None:
    """A misspelt model names the nearest declared one."""
    assert orders("get", "ordr", "-s", orders.url) == 2
    assert "Did you mean 'order'?" in orders.err


def test_create_takes_the_text_form(orders: Shell) -> None:
    """The when … then … else text becomes a policy in force, for the service that its name says."""
    rules = "when(state='order_created') then route_to(version='v2') else route_to(version='v1')"
    name = "order-traffic-policy"
    assert orders("create", "traffic-policy", "--name", name, "--route-rules", rules, "-s", orders.url) == 0
    orders("get", "policies", "-s", orders.url, "-o", "json")
    assert json.loads(orders.out)[0] == {
        "kind": "TrafficPolicy",
        "name": name,
        "service": "order-service",
        "revision": 1,
    }


def test_a_store_that_is_not_there_is_said(shell: Shell) -> None:
    """A store that cannot be opened ends in one line on standard error, without the path's secrets, and status 3."""
    assert shell("get", "order", "-s", "etcd://user:secret@localhost/0") == 3
    assert "Installed: http, https, memory, " in shell.err
    assert "secret" not in shell.err


def test_no_policy_files_is_an_error(shell: Shell) -> None:
    """A folder without policies says so."""
    assert shell("policy", "check", str(shell.folder / "nowhere")) == 2
    assert "does not exist" in shell.err


def test_explain_says_which_clause_decided(shell: Shell) -> None:
    """``explain`` answers with the decision, and with the clause that failed for the rules that did not match."""
    assert shell("explain", "order-service", "order.state=paid", "-p", str(shell.folder / "policies")) == 0
    assert "version=v1" in shell.out
    assert "order.state is 'paid'" in shell.out


def test_services_are_asked_for_by_name(orders: Shell) -> None:
    """Without a name the answer is not an empty list, which would say that there are none."""
    assert orders("get", "services", "-s", orders.url) == 2
    assert "which service?" in orders.err


def test_options_may_stand_between_facts(shell: Shell) -> None:
    """A call is described in the order that comes to mind: service, operation, facts."""
    words = ("explain", "order-service", "--operation", "GET /orders/o-1", "order.state=created")
    assert shell(*words, "-p", str(shell.folder / "policies")) == 0
    assert "version=v2" in shell.out


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ("ordr.state=paid", "Did you mean 'order'?"),
        ("order.state=payed", "Did you mean 'paid'?"),
        ("order.amont=1", "Did you mean 'amount'?"),
        ("principal.mfa=maybe", "write true or false"),
        ("principal.rols=x", "Did you mean 'roles'?"),
        ("nonsense", "order.state=created"),
    ],
)
def test_explain_mends_misspelt_facts(shell: Shell, fact: str, said: str) -> None:
    """A fact that fits nothing is refused with the nearest that does."""
    assert shell("explain", "order-service", fact, "-p", str(shell.folder / "policies")) == 2
    assert said in shell.err


def test_models_of_a_set_that_is_outrun_are_not_declared(shell: Shell) -> None:
    """Models and policies are checked together, and the models come to stay with the policies only."""
    assert shell("apply", str(shell.folder / "policies"), "-s", shell.url, "--replaces", "4") != 0
    with Mesh(service="looker", control_plane=shell.url) as mesh:
        assert dict(mesh.control_plane.snapshot().models) == {}
    assert shell("apply", str(shell.folder / "policies"), "-s", shell.url) == 0
    with Mesh(service="looker", control_plane=shell.url) as mesh:
        assert set(mesh.control_plane.snapshot().models) == {"order"}
