"""Files of cases → ``Case``: calls, and what is expected of the decision on each.

    defaults: {service: order-service}            # laid under every case
    fixtures:                                     # named, for use by name or by ``like``
      principals: {ann: {id: ann, mfa: true}}
      contexts: {order: {fresh: {id: o-1, state: created}}}
    cases:
    - name: a new order goes to v2
      contexts: {order: fresh}
      expect: {route: {version: v2}, reason: {policy: orders, rule: created}}
    - name: amounts
      contexts: {order: {id: o-1}}
      each:                                       # rows laid over the case, a case each
      - {contexts: {order: {amount: 1000.00}}, expect: {route: {version: v1}}}

A mistake is a finding with its place, and every mistake of a file is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.policy.engine import Engine
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.fields import Fields, shown
from mcp_sdk.policy.source.layers import Once, laid_over, larger, resolved, without
from mcp_sdk.policy.source.reading import MapNode, Node, Scalar, read_documents
from mcp_sdk.policy.testing.expectations import Expected, Vocabulary, read_expected
from mcp_sdk.policy.testing.givens import Givens, read_context, read_facts, read_principal, read_source

__all__ = ["Case", "read_cases"]

MAX_CASES = 20_000
MAX_VALUES = 2_000
MAX_NAME = 200
_FILE_KEYS = ("defaults", "fixtures", "cases")
_READERS: Mapping[str, Callable[[Fields], object]] = {
    "principals": read_principal,
    "requests": read_facts,
    "sources": read_source,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One call and what is expected of its decision; ``at`` is the place in the file."""

    name: str
    request: DecisionRequest
    expected: Expected
    at: Scalar

    @property
    def title(self) -> str:
        """The case as reports name it: file, line, column and name."""
        return f"{self.at.file}:{self.at.line}:{self.at.column}: {self.name}"


def read_cases(sources: Mapping[str, str], engine: Engine, findings: Collector) -> tuple[Case, ...]:
    """Read every case of YAML files, by file name, against the policies and models of an engine."""
    vocabulary = Vocabulary(engine)
    once = Once(findings.limit)
    found: list[Case] = []
    for file in sorted(sources):
        for document in read_documents(sources[file], file, once):
            if not (isinstance(document, Scalar) and document.value is None):
                found += _Reader(engine, vocabulary, once).read(document)
    findings.extend(once.found)
    return tuple(found)


class _Reader:
    """Reads one document."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary, findings: Collector) -> None:
        self.vocabulary, self.findings = vocabulary, findings
        self.givens = Givens(engine)
        self.names: set[str] = set()
        self.defaults: MapNode | None = None

    def read(self, document: Node) -> Iterator[Case]:
        if not isinstance(document, MapNode):
            self.findings.error("MCP0003", f"a file of cases is a mapping with {', '.join(_FILE_KEYS)}", document)
            return
        fields = Fields(document, "file", self.findings)
        defaults = fields.get("defaults")
        if isinstance(defaults, MapNode) and self.bounded(defaults, "defaults"):
            self.defaults = defaults
        elif defaults is not None and not isinstance(defaults, MapNode):
            fields.wrong(defaults, "defaults", "a mapping", "something else")
        self.fixtures(fields)
        fields.require("cases")
        nodes = fields.sequence("cases")
        fields.done()
        yield from self.cases(nodes)

    def bounded(self, node: Node, what: str) -> bool:
        if larger(node, MAX_VALUES):
            self.findings.error("MCP0002", f"{what} holds more than {MAX_VALUES} values", node)
            return False
        return True

    def fixtures(self, fields: Fields) -> None:
        """Read every fixture once, so that one which no case uses is checked as well."""
        fixtures = fields.mapping("fixtures")
        if fixtures is None:
            return
        sections = {name: fixtures.mapping(name) for name in _READERS}
        contexts = fixtures.mapping("contexts")
        fixtures.done()
        for name, section in sections.items():
            self.section(name, section, _READERS[name])
        if contexts is None:
            return
        for name in contexts.nodes:
            model = self.givens.model(contexts, name)
            section = contexts.mapping(name)
            if model is not None:
                self.section(f"contexts.{name}", section, partial(read_context, model=model))

    def section(self, name: str, section: Fields | None, read: Callable[[Fields], object]) -> None:
        if section is None:
            return
        nodes = {key: node for key, node in section.nodes.items() if self.bounded(node, f"{section.what}.{key}")}
        self.givens.fixtures[name] = nodes
        for key, node in nodes.items():
            what = f"{section.what}.{key}"
            mapping = resolved(node, nodes, what, self.findings)
            if mapping is not None:
                read(Fields(mapping, what, self.findings))

    def cases(self, nodes: Iterable[Node]) -> Iterator[Case]:
        for number, node in enumerate(nodes, 1):
            if len(self.findings.found) >= self.findings.limit:
                return
            if len(self.names) > MAX_CASES:
                self.findings.error("MCP0002", f"more than {MAX_CASES} cases. Split the file.", node)
                return
            if not isinstance(node, MapNode):
                self.findings.error("MCP0003", f"cases[{number}] is a mapping with name, expect and more", node)
            else:
                yield from self.rows(node, number)

    def rows(self, node: MapNode, number: int) -> Iterator[Case]:
        """Read a case, or one for each of its rows."""
        own = Fields(node, f"cases[{number}]", self.findings)
        name = self.name(own, required=True)
        rows = own.sequence("each")
        base = without(node, "each")
        if not self.bounded(base, own.what):
            return
        if "each" not in own:
            yield from self.case(base, name, node)
        for place, row in enumerate(rows, 1):
            if len(self.names) > MAX_CASES:
                return
            if not isinstance(row, MapNode):
                self.findings.error("MCP0003", f"{own.what}.each[{place}] is a mapping, laid over the case", row)
            elif self.bounded(row, f"{own.what}.each[{place}]"):
                given = self.name(Fields(row, f"{own.what}.each[{place}]", self.findings)) or str(place)
                yield from self.case(laid_over(base, without(row, "name")), f"{name}: {given}", row)

    def name(self, fields: Fields, *, required: bool = False) -> str:
        name = fields.string("name", required=required)
        if name and (len(name) > MAX_NAME or not name.isprintable()):
            message = f"{fields.what}: 'name' is {shown(name)}; a name is one line of at most {MAX_NAME} characters"
            self.findings.error("MCP0008", message, fields.nodes["name"])
        return name

    def case(self, node: MapNode, name: str, at: MapNode) -> Iterator[Case]:
        if name in self.names:
            self.findings.error("MCP0208", f"the name {shown(name)} is taken by another case of the file", at)
        self.names.add(name)
        before = len(self.findings.found)
        layered = node if self.defaults is None else laid_over(self.defaults, node)
        fields = Fields(layered, f"case {shown(name)}", self.findings)
        fields.asked.add("name")
        request = self.givens.request(fields)
        expect = fields.mapping("expect", required=True)
        words = self.vocabulary.of(request)
        expected = {} if expect is None else read_expected(expect, words)
        fields.asked.add("each")
        fields.done()
        if len(self.findings.found) == before:
            yield Case(name, request, expected, Scalar("", at.file, at.line, at.column))
