"""The verbs that only a server answers: tokens, identities, owners, second persons, the audit log."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Replica

from mcp_sdk import BusinessModel
from mcp_sdk.cli import main

POLICIES = """\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: orders}
spec:
  target: {service: shop}
  default: permit
  rules:
  - {name: paid, when: "order.state == 'paid'", effect: deny, reason: it is paid}
"""
MODELS = "models:\n- {name: order, states: [created, paid]}\n"


class Desk:
    """Runs command lines against a server."""

    def __init__(self, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
        self.replica, self._patch = replica, monkeypatch
        monkeypatch.setenv("MCP_SDK_CONTROL_PLANE", replica.url)
        self.out = self.err = ""
        self.become(replica.token)

    def become(self, token: str) -> None:
        """Go on as the holder of another token."""
        self._patch.setenv("MCP_SDK_TOKEN", token)

    def __call__(self, *argv: str, status: int = 0) -> str:
        """Run one, which must end with ``status``, and give what it printed."""
        out, err = io.StringIO(), io.StringIO()
        found = main(argv, out, err)
        self.out, self.err = out.getvalue(), err.getvalue()
        assert found == status, self.out + self.err
        return self.out

    def data(self, *argv: str) -> Any:
        """Run one, and give what it printed for machines."""
        return json.loads(self(*argv, "-o", "json"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A server, and an admin before it."""
    with Replica(tmp_path) as replica:
        yield Desk(replica, monkeypatch)


def test_a_token_is_made_listed_and_revoked(desk: Desk) -> None:
    """The text alone goes to standard output; a bad time or role says how to write one."""
    made = desk("token", "create", "--role", "publisher", "--service", "shop", "--environment", "prod", "--ttl", "30d")
    assert made.startswith("mcp_")
    assert made.count("\n") == 1
    assert "shown this once" in desk.err
    (found,) = [one for one in desk.data("token", "list") if one["name"] == "shop"]
    grant = {"role": "publisher", "namespace": "*", "environment": "prod", "targets": ["shop"]}
    assert (found["grants"], found["service"]) == ([grant], "shop")
    assert "publisher in */prod for shop" in desk("token", "list")
    assert "revoked" in desk("token", "revoke", found["id"])
    desk("token", "revoke", found["id"], status=3)
    desk("token", "create", "--role", "king", status=2)
    assert "choose from 'viewer', 'publisher', 'operator', 'admin'" in desk.err
    desk("token", "create", "--role", "viewer", "--ttl", "soon", status=2)
    assert "30d" in desk.err
    desk("token", "revoke", "shop", status=2)
    assert "mcpctl token list" in desk.err


@pytest.mark.parametrize("verb", [("token", "create"), ("identity", "grant", "cn:shop")])
@pytest.mark.parametrize("option", ["--service", "--target", "--namespace", "--environment"])
def test_a_grant_of_a_variable_that_is_not_set_is_refused(
    verb: tuple[str, ...], option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the grant would be for all: an empty ``--service`` made a publisher of every service."""
    monkeypatch.setenv("MCP_SDK_CONTROL_PLANE", "http://127.0.0.1:1")
    for value in ("", "  "):
        out, err = io.StringIO(), io.StringIO()
        assert main((*verb, "--role", "publisher", option, value), out, err) == 2
        assert (out.getvalue(), f"{option}: it is empty, as of a variable" in err.getvalue()) == ("", True)


@pytest.mark.parametrize(
    ("ttl", "said"), [("", "--ttl: it is empty, as of a variable"), ("99999d", "--ttl 99999d is too long: 3660d")]
)
def test_a_time_that_no_token_lasts_is_refused(ttl: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one would make a token that lasts; one too long is told before the server is asked."""
    monkeypatch.setenv("MCP_SDK_CONTROL_PLANE", "http://127.0.0.1:1")
    err = io.StringIO()
    assert main(("token", "create", "--role", "viewer", "--ttl", ttl), io.StringIO(), err) == 2
    assert said in err.getvalue()


def test_a_grant_that_names_no_service_is_for_all(desk: Desk) -> None:
    """As it was: what is left out is not refused."""
    desk("token", "create", "--role", "viewer", "--name", "all")
    (found,) = [one for one in desk.data("token", "list") if one["name"] == "all"]
    assert (found["service"], found["grants"][0]["targets"]) == ("", ["*"])


def test_an_identity_is_granted_listed_and_revoked(desk: Desk) -> None:
    """A pattern has one record, which grows by what is granted to it."""
    pattern = "spiffe://mesh/ns/shop/sa/orders"
    desk("identity", "grant", pattern, "--role", "publisher", "--service", "orders")
    desk("identity", "grant", pattern, "--role", "viewer")
    (found,) = desk.data("identity", "list")
    assert ([one["role"] for one in found["grants"]], found["service"]) == (["publisher", "viewer"], "orders")
    assert pattern in desk("identity", "list")
    desk("identity", "revoke", "spiffe://mesh/ns/shop/sa/order", status=2)
    assert f"Did you mean {pattern!r}?" in desk.err
    desk("identity", "revoke", pattern)
    assert desk.data("identity", "list") == []
    desk("identity", "grant", pattern, "--role", "viewer")
    desk("identity", "revoke", desk.data("identity", "list")[0]["id"])
    assert desk.data("identity", "list") == []
    desk("identity", "grant", "everyone", "--role", "viewer", status=3)
    assert "no subject" in desk.err


def test_owners_are_said_and_listed(desk: Desk) -> None:
    """Several services may own a model."""
    assert desk("model", "own", "order", "--service", "a", "--service", "b") == "order is owned by a, b\n"
    assert desk.data("model", "owners") == {"order": ["a", "b"]}
    assert "order" in desk("model", "owners")


def test_a_protected_policy_is_applied_by_two(desk: Desk, tmp_path: Path) -> None:
    """Apply says what to type next; another approves; what is taken away is gone."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "models.yaml").write_text(MODELS)
    (folder / "orders.yaml").write_text(POLICIES)
    _declare(desk)
    tokens = [desk("token", "create", "--role", "admin", "--name", name).strip() for name in ("bob", "eve")]
    assert "prod of: AccessPolicy" in desk("protect", "-e", "prod")
    desk.become(tokens[0])
    desk("apply", str(folder), "-e", "prod", status=3)
    said = desk.err
    (change,) = desk.data("changes", "-e", "prod")
    assert said.endswith(f"mcpctl approve {change['id']} -e prod\n")
    assert change["id"] in desk("changes", "-e", "prod")
    desk("approve", change["id"], "-e", "prod", status=3)
    assert "Somebody else" in desk.err
    desk.become(tokens[1])
    assert "revision 1" in desk("approve", change["id"], "-e", "prod")
    (folder / "orders.yaml").write_text(POLICIES.replace("it is paid", "paid already"))
    desk("rollout", "start", str(folder), "-e", "prod", "--stages", "shadow:1h", status=3)
    (staged,) = desk.data("changes", "-e", "prod")
    desk.become(tokens[0])
    assert "begins as the rollout r-" in desk("approve", staged["id"], "-e", "prod")
    desk.become(tokens[1])
    desk("protect", "-e", "prod", "--lift", status=3)
    said = desk.err
    (lift,) = desk.data("changes", "-e", "prod")
    assert said.endswith(f"mcpctl approve {lift['id']} -e prod\n")
    assert "lift AccessPolicy" in desk("changes", "-e", "prod")
    desk.become(tokens[0])
    assert desk("approve", lift["id"], "-e", "prod") == "AccessPolicy is protected no longer\n"
    desk("protect", "--kind", "AcessPolicy", status=2)
    assert "choose from 'AccessPolicy'" in desk.err
    desk("approve", "c-1", "-e", "prod", status=2)
    assert desk.err.endswith("mcpctl changes -e prod\n")


def test_an_operator_applies_a_folder_with_its_models(desk: Desk, tmp_path: Path) -> None:
    """It needs no other role; the owners of a model that is declared already are not undone."""
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "orders.yaml").write_text(POLICIES)
    desk.become(desk("token", "create", "--role", "operator").strip())
    assert "revision 1" in desk("apply", str(tmp_path))
    assert [one["what"] for one in desk.data("audit", "list")][-4:] == ["models.declare"] * 2 + ["policies.apply"] * 2
    (tmp_path / "models.yaml").write_text("models:\n- {name: order, key: number, states: [created, paid]}\n")
    desk("apply", str(tmp_path), status=1)
    at = f"{tmp_path}/models.yaml:2:10: error MCP0032: against what default/default holds, "
    assert f"{at}order: key is 'id' and 'number' (as held, and as written here)" in desk.err
    assert desk.err.endswith("see it with: mcpctl describe model order\n")
    told = desk.data("describe", "model", "order")
    assert (told["key"], told["state"], told["principal"]) == ("id", "state", False)
    assert desk.data("history")[0]["revision"] == 1


def _declare(desk: Desk) -> None:
    body = {"models": [BusinessModel("order", states=("created", "paid")).to_dict()]}
    headers = {"authorization": f"Bearer {desk.replica.token}"}
    url = f"{desk.replica.url}/v1/models?environment=prod"
    assert httpx.post(url, json=body, headers=headers, trust_env=False).status_code == 204


class Terminal(io.StringIO):
    """What says that it is a terminal; ``COLUMNS`` says how wide it is."""

    def isatty(self) -> bool:
        return True


def test_the_log_is_readable_on_a_narrow_terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns an entry takes two lines, none of which is folded; at 140 it takes one."""
    desk("model", "own", "a-model-of-a-long-name", "--service", "shop")
    shown = []
    for columns in (80, 140):
        monkeypatch.setenv("COLUMNS", str(columns))
        out = Terminal()
        assert main(["audit", "list", "--after", "5"], out, io.StringIO()) == 0
        shown.append([line.rstrip() for line in out.getvalue().splitlines()])
    narrow, wide = shown
    assert (len(narrow), len(wide)) == (2, 2)
    assert narrow[0].startswith("6  20")
    assert narrow[0].endswith("Z  first-admin  model.own  done")
    assert narrow[1] == "   default/default  a-model-of-a-long-name"
    assert wide[1].endswith("first-admin  model.own  done   default/default  a-model-of-a-long-name")


def test_tokens_are_readable_on_a_narrow_terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No moment is folded: what does not fit takes two lines."""
    desk("token", "create", "--role", "publisher", "--service", "shop", "--environment", "prod", "--ttl", "30d")
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal()
    assert main(["token", "list"], out, io.StringIO()) == 0
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    at = next(number for number, line in enumerate(lines) if re.search(r" shop +shop +until \S{19}Z$", line))
    assert lines[at + 1] == "    publisher in */prod for shop"


def test_the_log_is_verified_on_the_server_and_offline(desk: Desk, tmp_path: Path) -> None:
    """A whole log prints its head; one that was touched ends with 1 and the number of the entry."""
    for model in ("a", "b", "c"):
        desk("model", "own", model, "--service", "x")
    assert "model.own" in desk("audit", "list", "--after", "4")
    assert [one["number"] for one in desk.data("audit", "list", "--limit", "2")] == [1, 2]
    head = desk.data("audit", "verify")["head"]
    file = tmp_path / "audit.jsonl"
    desk("audit", "export", str(file))
    assert head in desk.err
    assert desk.data("audit", "export", str(file)) == {"file": str(file), "entries": 10, "head": head}
    assert desk("audit", "export") == file.read_text()
    assert "10 entries, unbroken" in desk("audit", "verify", str(file), "--head", head)
    lines = file.read_text().splitlines()
    for touched, said in (
        ([*lines[:5], lines[5].replace('"x"', '"y"'), *lines[6:]], "entry 6 is broken (altered)"),
        (lines[:3] + lines[4:], "entry 4 is broken (gap)"),
        (lines[:4], "entry 5 is broken (truncated)"),
    ):
        file.write_text("\n".join(touched))
        assert said in desk("audit", "verify", str(file), "--head", head, status=1)
    desk("audit", "verify", str(tmp_path / "audit.json"), status=2)
    assert "audit.json does not exist" in desk.err
    desk("audit", "verify", "--head", "6", status=2)
    desk.become(desk("token", "create", "--role", "operator", "--namespace", "shop").strip())
    desk("audit", "verify", status=3)
    assert "part" in desk.err


def test_a_store_is_no_server(desk: Desk, tmp_path: Path) -> None:
    """What only a server has is not asked of a file."""
    desk("token", "list", "-s", f"sqlite:///{tmp_path / 'x.db'}", status=3)
    assert "mcpctl serve" in desk.err
