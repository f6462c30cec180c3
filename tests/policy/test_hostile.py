"""What is too large, too deep or no value: an error in bounded time and memory, never a crash; refusals fail closed.

Conditions are checked in a process of its own, whose processor time and memory the kernel limits: what is not bounded,
or brings the native compiler down, ends it.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
from typing import Any

import pytest

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies

SECONDS, MEMORY = 60, 2 * 2**30
ATTRIBUTES = {"channel": "string", "amount": "decimal", "items": "int", "ratio": "double", "tags": "list"}
MODELS = {"order": BusinessModel("order", states=("a",), attributes=ATTRIBUTES)}
REFUSED = {
    "100 kB in one string": ("order.channel == '" + "x" * 100_000 + "'", "MCP0024"),
    "100 kB of terms": (" || ".join(["order.items == 1"] * 5000), "MCP0024"),
    "1 000 parentheses": ("(" * 1000 + "true" + ")" * 1000, "MCP0024"),
    "150 parentheses": ("(" * 150 + "true" + ")" * 150, "MCP0024"),
    "maps in maps": ("{'a':" * 100 + "1" + "}" * 100 + " == {}", "MCP0024"),
    "1 000 maps in maps": ("{'a':" * 1000 + "1" + "}" * 1000 + " == {}", "MCP0024"),
    "lists in lists": ("[" * 150 + "]" * 150 + " == []", "MCP0024"),
    "2 000 fields of fields": ("order" + ".a" * 2000 + " == 1", "MCP0024"),
    "1 000 indices": ("order.tags" + "[0]" * 1000 + " == 'a'", "MCP0024"),
    "900 sums": ("size(" + "+".join(["order.channel"] * 900) + ") > 1", "MCP0024"),
    "four macros deep": ("order.tags" + ".all(a, order.tags" * 4 + " == []" + ")" * 4, "MCP0024"),
    "a pattern of a billion": ("order.channel.matches('(((a{1000}){1000}){1000})')", "MCP0027"),
    "2^63": ("order.items == 9223372036854775808", "MCP0020"),
    "2^63 - 1 in major units": ("order.amount == 9223372036854775807", "MCP0025"),
    "5 000 digits": ("order.items == " + "9" * 5000, "MCP0020"),
    "beyond a double": ("order.ratio == 1e999", "MCP0025"),
    "an exponent of 300 digits": ("order.ratio == 1e" + "9" * 300, "MCP0025"),
    "an exponent beyond a decimal": ("order.amount == 1e999999999", "MCP0025"),
    "a lone surrogate": ("order.channel == '\\ud800'", "MCP0020"),
    "nothing": ("", "MCP0020"),
    "an open string": ("order.channel == 'abc", "MCP0020"),
}
TAKEN = {
    "a pattern that backtracks elsewhere": "order.channel.matches('(a+)+$')",
    "a pattern from a fact": "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'.matches(order.channel)",
    "NaN": "order.ratio > 0.0 / 0.0",
    "infinity": "order.ratio < 1.0 / 0.0",
    "the least integer": "order.items == -9223372036854775808",
    "NUL": "order.channel == '\x00'",
    "bytes that are no text": "b'\\xff' == b'\\xff'",
    "1 000 terms": " && ".join(["order.items == 1"] * 1000),
    "a list of 3 000": f"order.items in [{','.join(map(str, range(3000)))}]",
    "1 000 negations": "!" * 1000 + "order.items == 1",
    "no moment": "timestamp('9999-99-99') < now",
    "a span beyond all": "duration('999999999999999999h') > duration('1s')",
}
CHILD = """
import json, sys
from mcp_sdk.exceptions import PolicyError
sys.path.insert(0, {folder!r})
from test_hostile import MODELS, Engine, calls, compile_policies, source
for name, when in json.load(sys.stdin).items():
    try:
        engine = Engine(compile_policies({{"p": source(when, "permit", "deny")}}, MODELS), MODELS)
        said = [engine.decide(call).verdict.name for call in calls()]
    except PolicyError as error:
        said = sorted({{finding.code for finding in error.findings}})
    print(json.dumps([name, said]), flush=True)
"""


class Vicious:
    """A value that fails whatever is asked of it."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("==")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __lt__(self, other: object) -> bool:
        raise RuntimeError("<")


WRONG: list[dict[str, Any]] = [
    {"channel": 5, "items": "x", "amount": "1", "ratio": "s", "tags": 5},
    {"channel": Vicious(), "items": Vicious(), "amount": Vicious(), "ratio": Vicious(), "tags": Vicious()},
    {"channel": ["a"], "items": [1], "amount": {}, "ratio": [], "tags": 7},
    {},
]
STRANGE: list[dict[str, Any]] = [
    {"channel": "\ud800" * 1000, "items": 2**100, "amount": -(2**100), "ratio": math.inf, "tags": ["\ud800"]},
    {"channel": "a" * 1_000_000 + "!", "items": 0, "amount": 0, "ratio": math.nan, "tags": ["x"] * 100_000},
    {"channel": b"x", "items": True, "amount": 1.5, "ratio": None, "tags": {"a": 1}},
]


def source(when: str, effect: str, default: str) -> str:
    """Write an AccessPolicy of one rule."""
    return (
        "kind: AccessPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n"
        f"  default: {default}\n  rules:\n  - {{when: {json.dumps(when)}, effect: {effect}}}\n"
    )


def calls() -> list[DecisionRequest]:
    """Give calls with facts of every wrong and strange kind."""
    contexts = [ModelContext("order", "o-1", "a", facts) for facts in (*WRONG, *STRANGE)]
    return [DecisionRequest("s", contexts={"order": context}) for context in contexts]


@pytest.fixture(scope="module")
def outcome() -> dict[str, list[str]]:
    """What became of each condition: the codes of its findings, or the decisions by it."""
    folder = __file__.rpartition("/")[0]
    conditions = {name: when for name, (when, _) in REFUSED.items()} | TAKEN
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(folder=folder)],
        input=json.dumps(conditions),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limited,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(line) for line in done.stdout.splitlines())


def limited() -> None:
    """Have the kernel end this process when it takes too much."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_too_much_is_refused_by_its_code(outcome: dict[str, list[str]], name: str) -> None:
    """Size, depth, cost and range have limits, and going over one is a finding."""
    assert REFUSED[name][1] in outcome[name]


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_strange_is_decided_whatever_the_facts(outcome: dict[str, list[str]], name: str) -> None:
    """Edge values and RE2's patterns check, and every call is answered."""
    assert len(outcome[name]) == len(calls())
    assert set(outcome[name]) <= {"permit", "deny"}


CONDITIONS = [
    "order.channel.startsWith('a')",
    "order.channel < 'm'",
    "order.items > 3",
    "order.amount <= 10",
    "order.ratio < 1.0",
    "order.tags.exists(tag, tag == 'b')",
    "size(order.tags) > 0",
    "order.channel.matches('^b')",
    "order.items / 2 > 1",
]


@pytest.mark.parametrize("when", CONDITIONS)
@pytest.mark.parametrize("rules", [1, 40])
@pytest.mark.parametrize("facts", range(len(WRONG)))
def test_facts_of_wrong_types_refuse_and_grant_nothing(when: str, rules: int, facts: int) -> None:
    """An error makes the refusing rule match and the granting one not, however many rules the index holds."""
    request = calls()[facts]
    for effect, default in (("deny", "permit"), ("permit", "deny")):
        more = "".join(
            f"  - {{when: \"order.channel == 'c{number}' && order.items == {number}\", effect: permit}}\n"
            for number in range(rules)
        )
        engine = Engine(compile_policies({"p": source(when, effect, default) + more}, MODELS), MODELS)
        assert not engine.decide(request).permitted
