"""What a program needs, and what it may not do, when it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk.exceptions import ConfigurationError, MissingExtra
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies, explain
from mcp_sdk.policy.cel.values import pattern
from mcp_sdk.policy.hashing import load_hash

SOURCE = Path(__file__).parent / "sources" / "design.yaml"
GOLDEN = Path(__file__).parent / "golden"
Models = Mapping[str, BusinessModel]
MATCHES = """kind: AccessPolicy
metadata: {name: p}
spec:
  target: {service: s}
  default: deny
  rules:
  - {when: "has(order.channel) && order.channel.matches('^w.b$')", effect: permit}
"""


@pytest.mark.parametrize(
    ("missing", "source"), [("xxhash", SOURCE.read_text()), ("re2", MATCHES)], ids=["sticky split", "matches"]
)
def test_a_program_is_refused_by_the_name_of_what_it_needs(
    missing: str, source: str, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where xxhash or RE2 is not installed, a program that uses it does not load, and says what to install."""
    programs = compile_policies({"p": source}, models)
    monkeypatch.setitem(sys.modules, missing, None)
    load_hash.cache_clear()
    pattern.cache_clear()
    with pytest.raises(MissingExtra, match=r"mcp-sdk\[policy\]"):
        Engine(programs, models)
    load_hash.cache_clear()


def test_a_program_of_the_format_before_is_read(models: Models, call: Callable[..., Any]) -> None:
    """It held the texts of clauses, not where they are cut: decisions and explanations are the same."""
    old = Engine(json.loads((GOLDEN / "format1.json").read_text()), models)
    new = Engine(compile_policies({"design.yaml": SOURCE.read_text()}, models), models)
    assert (old.programs["format"], new.programs["format"]) == (1, 2)
    for service, operation in (("order-service", ""), ("transfers", "POST /transfers")):
        asked = call(service, namespace="shop", operation=operation)
        assert explain(old, asked).to_dict() == explain(new, asked).to_dict()
        assert explain(old, asked).policies


def test_a_program_runs_without_the_compiler(models: Models) -> None:
    """Applying a program imports neither cel-cpp, nor protobuf, nor YAML."""
    programs = json.dumps(compile_policies({"p": MATCHES.replace(".matches('^w.b$')", " == 'web'")}, models))
    code = (
        "import json, sys; from mcp_sdk.policy.engine import Engine; Engine(json.loads(sys.argv[1]), {});"
        "print(sorted({'yaml', 'google', 'cel_expr_python', 're2', 'xxhash', 'asyncio', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, programs], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['asyncio']")


def tampered(expression: Any, params: tuple[str, ...] = ()) -> dict[str, Any]:
    """Give a program whose one condition is this expression."""
    row = ["r", "", 1, 1, 0, []]
    policy = {
        "kind": "AccessPolicy",
        "name": "p",
        "namespace": "default",
        "service": "s",
        "operations": [],
        "file": "f",
    }
    rest = {"allow_tentative": False, "shadow": False, "line": 1, "default": "deny", "rules": [[*row, 0]]}
    shape = {"expr": expression, "params": list(params), "models": []}
    return {"format": 1, "shapes": [shape], "effects": [{"effect": "permit"}], "policies": [policy | rest]}


EVIL = "x = __import__('builtins').setattr(__import__('sys'), 'owned', 1) #"


@pytest.mark.parametrize(
    "expression",
    [
        ["get", ["var", EVIL, EVIL], "f", "bool"],
        ["has", ["var", EVIL, EVIL], "f"],
        ["get", ["var", "request", "request"], EVIL, "bool"],
        ["get", ["var", "request", "request"], "__class__", "bool"],
        ["k", EVIL],
        ["call", "@in", "bool", ["get", ["var", "a", "a"], "b", "string"], ["k", "0); " + EVIL]],
        ["k", 5],
        ["lit", EVIL],
    ],
)
def test_a_tampered_program_smuggles_no_code(expression: Any) -> None:
    """Names and numbers of a program that are none are refused before any code is made of them."""
    with pytest.raises(ConfigurationError, match="damaged"):
        Engine(tampered(expression), {})
    assert not hasattr(sys, "owned")


def nested(levels: int) -> Any:
    """Give lists in lists."""
    return [nested(levels - 1)] if levels else []


@pytest.mark.parametrize(
    "damage",
    [
        {"format": nested(500)},
        {"uses": None},
        {"shapes": nested(500)},
        {"policies": [{**tampered(["k", True])["policies"][0], "kind": "NoPolicy"}]},
        {"policies": [{**tampered(["k", True])["policies"][0], "name": name} for name in (None, "p")]},
    ],
    ids=["format", "uses", "shapes", "kind", "name"],
)
def test_a_damaged_program_is_told_as_such(damage: Mapping[str, Any]) -> None:
    """Whatever stands in the place of what."""
    with pytest.raises(ConfigurationError, match="Compile"):
        Engine(tampered(["k", True]) | damage, {})


@pytest.mark.parametrize("programs", [None, [], 5, "text"])
def test_what_is_no_program_is_refused(programs: Any) -> None:
    """A store may hold any JSON."""
    with pytest.raises(ConfigurationError, match="damaged"):
        Engine(programs, {})


@pytest.mark.parametrize("expression", [["call", EVIL, "bool"], ["all", EVIL, "bool", ["list", "list"], ["lit", True]]])
def test_what_is_unknown_in_a_program_grants_nothing(expression: Any, call: Callable[..., Any]) -> None:
    """An unknown function is an error, an odd name of a macro's variable is only a name."""
    decision = Engine(tampered(expression), {}).decide(call("s"))
    assert decision.permitted is (expression[0] == "all")
    assert not hasattr(sys, "owned")


def test_generated_code_shows_in_tracebacks(models: Models, call: Callable[..., Any]) -> None:
    """A traceback through a condition shows the generated line."""
    programs = compile_policies({"p": MATCHES.replace("has(order.channel) && ", "")}, models)
    rule = Engine(programs, models).policies[0].index.rules[0]
    request = call("s")
    try:
        rule.holds(None, request)
    except AttributeError:
        assert "m_order = c.get('order')" in traceback.format_exc()


def test_a_model_may_be_called_geo(call: Callable[..., Any], context: Callable[..., Any]) -> None:
    """The type of ``request.geo`` takes no name from the user."""
    models = {"geo": BusinessModel("geo", attributes={"zone": "string"})}
    source = MATCHES.replace(
        "has(order.channel) && order.channel.matches('^w.b$')", "geo.zone == 'a' && request.geo.country == ''"
    )
    engine = Engine(compile_policies({"p": source}, models), models)
    assert engine.decide(call("s", context("geo", zone="a"))).permitted


def test_a_constant_may_not_hide_a_model(models: Models) -> None:
    """A constant named like a model is an error."""
    with pytest.raises(Exception, match="cannot name a constant"):
        compile_policies({"p": MATCHES.replace("  rules:", "  constants: {order: 1}\n  rules:")}, models)


def test_a_new_revision_builds_only_the_policies_that_changed(models: Models, call: Callable[..., Any]) -> None:
    """An unchanged policy keeps its index, wherever the tables now hold its shapes; reasons name the revision."""
    head = (
        "kind: AccessPolicy\nmetadata: {{name: {0}}}\nspec:\n  target: {{service: {0}}}\n  default: permit\n  rules:\n"
    )
    kept = head.format("kept") + "  - {when: \"order.state == 'created'\", effect: deny}\n"
    other = head.format("aside") + '  - {when: "size(order.id) > 3", effect: deny}\n'
    changed = head.format("aside") + "  - {when: \"has(order.id) && order.id == 'o-1'\", effect: deny}\n"
    old = Engine(compile_policies({"b": kept}, models), models, revision=1)
    middle = Engine(compile_policies({"a": other, "b": kept}, models), models, revision=2, before=old)
    new = Engine(compile_policies({"a": changed, "b": kept}, models), models, revision=3, before=middle)
    trees = [{policy.name: policy.index.tree for policy in engine.policies} for engine in (old, middle, new)]
    assert trees[0]["kept"] is trees[1]["kept"] is trees[2]["kept"]
    assert trees[1]["aside"] is not trees[2]["aside"]
    for engine, revision in ((old, 1), (middle, 2), (new, 3)):
        assert engine.decide(call("kept")).reasons[0].revision == revision


def test_a_policy_whose_limit_counts_by_another_key_is_another_policy(models: Models) -> None:
    """The digest holds what the numbers of shapes stand for, keys of limits and stickiness too."""
    text = (
        "kind: RateLimitPolicy\nmetadata: {{name: p}}\nspec:\n  target: {{service: s}}\n  rules:\n"
        '  - {{when: "true", limit: {{requests: 1, per: 1s, key: "{}"}}}}\n'
    )
    digests = {
        compile_policies({"p": text.format(key)}, models)["policies"][0]["digest"]
        for key in ("order.id", "order.state", "principal.id")
    }
    assert len(digests) == 3


def denying(part: str) -> str:
    """Write a policy that denies by a condition nobody has asked yet, and one that grants."""
    return (
        "kind: AccessPolicy\nmetadata: {name: p}\nspec:\n  target: {service: p}\n  default: permit\n  rules:\n"
        f"  - {{when: \"has(order.channel) && order.channel.contains('{part}')\", effect: deny}}\n"
    )


def test_a_program_that_is_refused_leaves_the_engine_before_it_as_it_was(
    models: Models, call: Callable[..., Any], context: Callable[..., Any]
) -> None:
    """Also where it has the digest of a policy in force, another constant, and its damage in a later policy."""
    engine = Engine(compile_policies({"p": denying("x")}, models), models, revision=1)
    later = denying("z").replace("name: p", "name: q")
    program = compile_policies({"p": denying("x"), "q": later}, models)
    program["policies"][0]["rules"][0][5] = ["y"]
    program["policies"][1]["rules"][0][5] = []
    with pytest.raises(ConfigurationError):
        Engine(program, models, revision=2, before=engine)
    assert not engine.decide(call("p", context("order", channel="x"))).permitted


def test_a_digest_alone_does_not_make_a_policy_the_same(
    models: Models, call: Callable[..., Any], context: Callable[..., Any]
) -> None:
    """What is in a program counts, not what it says of itself; and damage is refused whatever was before it."""
    engine = Engine(compile_policies({"p": denying("x")}, models), models, revision=1)
    program = compile_policies({"p": denying("x")}, models)
    program["policies"][0]["rules"][0][5] = ["y"]
    after = Engine(program, models, revision=2, before=engine)
    assert after.decide(call("p", context("order", channel="x"))).permitted
    assert not after.decide(call("p", context("order", channel="y"))).permitted
    program["policies"][0]["rules"][0][5] = []
    with pytest.raises(ConfigurationError):
        Engine(program, models, revision=3, before=engine)
