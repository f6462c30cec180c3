"""Files of cases: what is shared is written once, and whatever is wrong is found where it stands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_sdk.decisions import ANONYMOUS, Geo, Phase, RequestFacts, Source
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, compile_policies
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.testing.cases import MAX_CASES, Case, read_cases
from mcp_sdk.policy.testing.givens import DEFAULT_NOW

SOURCE = Path(__file__).parent / "sources" / "cased.yaml"
Read = Callable[[str], tuple[tuple[Case, ...], list[str]]]


@pytest.fixture(scope="module")
def read(models: Mapping[str, BusinessModel]) -> Read:
    """Read a file of cases; give the cases, and the findings as text."""
    engine = Engine(compile_policies({"cased.yaml": SOURCE.read_text()}, models), models)

    def run(text: str) -> tuple[tuple[Case, ...], list[str]]:
        findings = Collector()
        return read_cases({"it_test.yaml": text}, engine, findings), [str(finding) for finding in findings.found]

    return run


def one(read: Read, facts: str) -> Case:
    """Read the one case that gives these facts."""
    (case,), findings = read(f"cases:\n- {{name: x, service: orders, {facts}, expect: {{verdict: permit}}}}")
    assert findings == []
    return case


def test_facts_are_written_as_policies_write_them(read: Read) -> None:
    """Amounts in major units, moments as text, names of headers in any case."""
    case = one(
        read,
        "operation: POST /transfers, contexts: {order: {id: o-1, state: paid, amount: 1500.10, items: 3, ratio: .nan, "
        "paid_at: '2026-01-01T01:00:00+01:00', tags: [a, 7], tentative: true}}, request: {headers: {X-Tenant: t}, "
        "geo: {country: NO}}, source: {service: gateway}, now: 2026-11-22T12:00:00Z",
    )
    order = case.request.contexts["order"]
    assert order.facts["amount"] == 150010
    assert order.facts["paid_at"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert order.facts["tags"] == ("a", "7")
    assert (order.entity_id, order.state, order.tentative, order.trust.value) == ("o-1", "paid", True, "store")
    facts = RequestFacts("POST", "/transfers", "POST /transfers", headers={"x-tenant": "t"}, geo=Geo("NO"))
    assert case.request.request == facts
    assert case.request.source == Source("gateway")
    assert case.request.now == datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_what_is_not_given_is_always_the_same(read: Read) -> None:
    """Nobody calls, at one moment for ever, in the one namespace whose policies govern the service."""
    request = one(read, "phase: method, operation: shop.orders.pay").request
    assert (request.principal, request.now, request.namespace) == (ANONYMOUS, DEFAULT_NOW, "shop")
    assert (request.phase, request.request) == (Phase.METHOD, RequestFacts("", "", "shop.orders.pay"))


def test_a_principal_that_is_given_is_authenticated(read: Read) -> None:
    """Unless it says otherwise."""
    assert one(read, "principal: {id: ann}").request.principal.authenticated
    assert not one(read, "principal: {id: ann, authenticated: false}").request.principal.authenticated


@pytest.mark.parametrize(("ingress", "seen"), [("mesh", []), ("open", ["order"])])
def test_what_may_not_be_believed_is_absent(read: Read, ingress: str, seen: list[str]) -> None:
    """As in a running service, but at ``open`` ingress."""
    case = one(read, f"ingress: {ingress}, contexts: {{order: {{id: o-1, trust: bad_signature}}}}")
    assert list(case.request.contexts) == seen


def test_an_attribute_may_have_the_name_of_a_key(models: Mapping[str, BusinessModel]) -> None:
    """It stands under ``attributes`` then."""
    model = BusinessModel("case_file", attributes={"trust": "string", "like": "int"})
    policy = "kind: AccessPolicy\nmetadata: {name: p}\nspec: {target: {service: s}, default: permit}"
    programs = compile_policies({"p.yaml": policy}, {"case_file": model})
    text = (
        "cases:\n- {name: x, service: s, contexts: {case_file: {trust: local, attributes: {trust: high, like: 1}}}, "
        "expect: {verdict: permit}}"
    )
    findings = Collector()
    (case,) = read_cases({"x_test.yaml": text}, Engine(programs, {"case_file": model}), findings)
    assert dict(case.request.contexts["case_file"].attributes) == {"trust": "high", "like": 1}


SHARED = """\
defaults: {service: orders, principal: ann}
fixtures:
  principals:
    ann: {id: ann}
    ben: {like: ann, id: ben, mfa: true}
  contexts:
    order:
      fresh: {id: o-1, state: created, amount: 250.00}
      paid: {like: fresh, state: paid}
cases:
- {name: plain, contexts: {order: paid}, expect: {verdict: permit}}
- name: table
  contexts: {order: {like: fresh, amount: 1.00}}
  expect: {verdict: permit}
  each:
  - {name: first, contexts: {order: {amount: 2.00}}}
  - {principal: {like: ben, mfa: false}, contexts: {order: null}}
"""


def test_fixtures_defaults_and_rows(read: Read) -> None:
    """A name, ``like`` and a row of a table each change only what they say."""
    cases, findings = read(SHARED)
    assert findings == []
    assert [case.name for case in cases] == ["plain", "table: first", "table: 2"]
    assert [case.at.line for case in cases] == [11, 16, 17]
    assert [case.request.principal.id for case in cases] == ["ann", "ann", "ben"]
    assert not cases[2].request.principal.mfa
    assert cases[0].request.contexts["order"].facts == {"amount": 25000, "id": "o-1", "state": "paid"}
    assert cases[1].request.contexts["order"].facts == {"amount": 200, "id": "o-1", "state": "created"}
    assert cases[2].request.contexts == {}


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        (
            "contexts: {ordr: {id: x}}",
            "ordr",
            "MCP0201: case 'x'.contexts: unknown model 'ordr'. Did you mean 'order'?",
        ),
        (
            "contexts: {order: {amuont: 5}}",
            "amuont",
            "MCP0202: case 'x'.contexts.order: order has no attribute 'amuont'.",
        ),
        (
            "contexts: {order: {state: payed}}",
            "payed",
            "MCP0203: case 'x'.contexts.order: 'payed' is no state of order.",
        ),
        (
            "contexts: {order: {amount: 1.005}}",
            "1.005",
            "'amount' is a number of at most 2 decimal digits, not '1.005'",
        ),
        ("contexts: {order: {amount: .nan}}", ".nan", "'amount' is a number in major units, not '.nan'"),
        ("contexts: {order: {amount: 1e999990}}", "1e999990", "'amount' is a number in major units"),
        ("contexts: {order: {amount: '5'}}", "'5'", "'amount' is a number in major units, not '5'"),
        ("contexts: {order: {items: 9223372036854775808}}", "9223372036854775808", "'items' is an integer of 64 bits"),
        ("contexts: {order: {items: 1.0}}", "1.0", "'items' is an integer of 64 bits, not '1.0'"),
        ("contexts: {order: {express: yes}}", "yes", "'express' is true or false, not 'yes'"),
        ("contexts: {order: {paid_at: soon}}", "soon", "'paid_at' is a moment like 2026-11-22T12:00:00Z"),
        ("contexts: {order: {paid_at: 0001-01-01T00:00:00+14:00}}", "0001-01", "'paid_at' is a moment"),
        ("contexts: {order: {tags: a}}", "a}}", "'tags' is a list of strings, not 'a'"),
        ("contexts: {order: {card: 4111}}", "card", "MCP0205: case 'x'.contexts.order: order.card is sensitive"),
        ("contexts: {order: {trust: belived}}", "belived", "MCP0007"),
        ("contexts: {order: fresh}", "fresh", "MCP0204: case 'x'.contexts.order: no fixture is called 'fresh'."),
        ("contexts: {order: [1]}", "[1]", "a mapping or the name of a fixture stands here"),
        ("principal: {roles: admin}", "admin", "'roles' is a list, not 'admin'"),
        (
            "principal: {rols: [admin]}",
            "rols",
            "MCP0004: case 'x'.principal: unknown key 'rols'. Did you mean 'roles'?",
        ),
        ("request: {size: big}", "big", "'size' is an integer, not 'big'"),
        ("request: {geo: {land: NO}}", "land", "MCP0004"),
        ("now: 99999-01-01", "99999", "'now' is a moment"),
        (
            "namespace: shopp",
            "shopp",
            "MCP0206: case 'x': no policy of namespace 'shopp' governs 'orders'. Did you mean",
        ),
        ("phase: inbond", "inbond", "MCP0007: case 'x': 'phase' is 'inbond'. Did you mean 'inbound'?"),
        ("expects: {verdict: deny}", "expects", "MCP0004: case 'x': unknown key 'expects'. Did you mean 'expect'?"),
        ("each: [5]", "5]", "MCP0003: cases[1].each[1] is a mapping, laid over the case"),
    ],
)
def test_a_mistake_is_found_where_it_stands(read: Read, text: str, at: str, said: str) -> None:
    """With the value, and the nearest valid one."""
    cases, findings = read(f"cases:\n- {{name: x, service: orders, expect: {{verdict: permit}},\n  {text}}}")
    assert findings[0].startswith(f"it_test.yaml:3:{text.index(at) + 3}: error")
    assert said in findings[0]
    assert len(findings) == 1
    assert not [case for case in cases if case.name == "x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "a file of cases is a mapping with defaults, fixtures, cases"),
        ("kases: []", "'cases' is required"),
        ("cases: {}", "'cases' is a list, not a mapping"),
        ("cases: [5]", "cases[1] is a mapping with name, expect and more"),
        ("cases: [{service: orders, expect: {verdict: deny}}]", "'name' is required"),
        (
            "cases: [{name: x, service: ordrs, expect: {verdict: deny}}]",
            "no policy governs 'ordrs'. Did you mean 'orders'?",
        ),
        ("cases: [{name: x, expect: {verdict: deny}}]", "'service' is required"),
        ("cases: [{name: x, service: orders}]", "'expect' is required"),
        ('cases: [{name: "a\\nb", service: orders, expect: {verdict: deny}}]', "a name is one line"),
        ("fixtures: {principals: {a: {mfa: 1}}}\ncases: []", "'mfa' is true or false"),
        ("fixtures: {contexts: {ordr: {a: {}}}}\ncases: []", "unknown model 'ordr'"),
        ("fixtures: {users: {}}\ncases: []", "unknown key 'users'"),
        ("defaults: 5\ncases: []", "'defaults' is a mapping"),
        ("cases: [{principal: {id: ann", "MCP0001"),
        ("cases: " + "[" * 100, "nested deeper than 40 levels"),
    ],
)
def test_a_file_that_is_no_file_of_cases_says_what_one_is(read: Read, text: str, said: str) -> None:
    """Fixtures that no case uses are checked as well."""
    _, findings = read(text)
    assert any(said in finding for finding in findings), findings


def test_two_cases_of_one_name_are_found(read: Read) -> None:
    """A report could not tell them apart."""
    row = "- {name: x, service: orders, expect: {verdict: deny}}"
    assert "MCP0208" in read(f"cases:\n{row}\n{row}")[1][0]


def test_ten_thousand_wrong_cases_make_a_bounded_report(read: Read) -> None:
    """What all of them share is reported once, and nothing more than ten thousand times."""
    rows = "\n".join(
        f"- {{name: n{number}, contexts: {{order: {{state: odd}}}}, expect: {{x: 1}}}}" for number in range(10_000)
    )
    _, findings = read(f"defaults: {{service: ordrs, phase: odd}}\ncases:\n{rows}")
    assert len(findings) == 10_000
    assert sum("MCP0206" in finding for finding in findings) == 1


@pytest.mark.parametrize(
    "text",
    [
        "defaults: {contexts: {order: {tags: [" + "a, " * 3000 + "]}}}\ncases: []",
        "cases:\n- &a [1, 2, 3, 4, 5, 6, 7]\n- &b [*a, *a, *a, *a, *a]\n- {name: x, expect: [" + "*b, " * 60 + "]}",
        "cases:\n- name: x\n  each: [" + "{}, " * (MAX_CASES + 10) + "]",
    ],
)
def test_what_would_grow_without_bound_is_refused(read: Read, text: str) -> None:
    """Shared parts, aliases and tables alike."""
    cases, findings = read(text)
    assert len(cases) <= MAX_CASES + 1
    assert findings


KEYS = st.sampled_from(
    ["name", "service", "each", "expect", "contexts", "principal", "order", "like", "cases", "fixtures"]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5), KEYS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(
    value=st.fixed_dictionaries(
        {"cases": st.lists(VALUES, max_size=3)}, optional={"defaults": VALUES, "fixtures": VALUES}
    )
)
def test_whatever_stands_in_a_file_gives_cases_or_findings(read: Read, value: object) -> None:
    """And no crash."""
    cases, findings = read(json.dumps(value))
    assert all(isinstance(case, Case) for case in cases)
    assert all(finding.startswith("it_test.yaml:") for finding in findings)
