"""The text form of route rules, which becomes the same TrafficPolicy as YAML does.

    rules   = "when" "(" condition ")" "then" target [ "else" ( rules | target ) ]
    target  = "route_to" "(" [ option { "," option } ] ")"
    option  = "version" "=" word | ( "subset" | "labels" ) "=" map | "split" "=" map
            | "sticky" "=" expression | "salt" "=" word | "priority" "=" word | "timeout" "=" word
    map     = "{" word ":" word { "," word ":" word } "}"
    word    = a quoted string, or letters, digits and . _ - /

A condition is CEL, in which ``=`` may stand for ``==`` and ``state='order_created'`` for ``order.state == 'created'``;
the text is split after the longest name of a declared model. ``sticky`` is a dotted path, or any expression in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mcp_sdk.exceptions import did_you_mean
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.fields import seconds, shown
from mcp_sdk.policy.source.reading import Scalar
from mcp_sdk.policy.source.resources import Condition, Share, TrafficRoute, TrafficRule
from mcp_sdk.services import Subset

__all__ = ["parse_route_rules"]

MAX_RULES = 10_000
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_STRING = re.compile(r"'((?:[^'\\\n]|\\.)*)'|\"((?:[^\"\\\n]|\\.)*)\"")
_TOKEN = re.compile(
    r"""(?P<string>[rRbB]{0,2}(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))"""
    r"""|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<op>==|!=|<=|>=|&&|\|\||=)|(?P<space>\s+)|(?P<other>.)""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
OPTIONS = ("version", "subset", "labels", "split", "sticky", "salt", "priority", "timeout")


class _Unreadable(Exception):
    def __init__(self, offset: int, message: str) -> None:
        self.offset, self.message = offset, message


class _Word(NamedTuple):
    text: str
    offset: int


def parse_route_rules(
    source: Scalar, models: Mapping[str, BusinessModel], findings: Collector
) -> tuple[tuple[TrafficRule, ...], TrafficRoute | None]:
    """Read the text of a scalar into rules (``rule-1``, …) and the default route; mistakes are findings."""
    parser = _Parser(source, models, findings)
    try:
        return parser.rules()
    except _Unreadable as error:
        findings.error("MCP0011", error.message, source.at(min(error.offset, len(source.text.rstrip()))))
        return (), None


class _Parser:
    def __init__(self, source: Scalar, models: Mapping[str, BusinessModel], findings: Collector) -> None:
        self.source, self.text = source, source.text
        self.models, self.findings = models, findings
        self.index = 0

    def rules(self) -> tuple[tuple[TrafficRule, ...], TrafficRoute | None]:
        rules: list[TrafficRule] = []
        default = None
        while True:
            rules.append(self._rule(len(rules) + 1))
            if len(rules) > MAX_RULES:
                raise _Unreadable(self.index, f"more than {MAX_RULES} rules")
            if not self._try_word("else"):
                break
            if not self._peek("when"):
                default = self._target()
                break
        self._end()
        return tuple(rules), default

    def _rule(self, number: int) -> TrafficRule:
        self._skip()
        at = self.source.at(self.index)
        self._keyword("when")
        when = self._condition()
        self._keyword("then")
        return TrafficRule(name=f"rule-{number}", when=when, at=at, route=self._target())

    def _skip(self) -> None:
        match = _SPACE.match(self.text, self.index)
        self.index = match.end() if match else self.index

    def _peek(self, word: str) -> bool:
        self._skip()
        match = _WORD.match(self.text, self.index)
        return bool(match and match[0] == word)

    def _try_word(self, word: str) -> bool:
        if not self._peek(word):
            return False
        self.index += len(word)
        return True

    def _keyword(self, word: str) -> None:
        if not self._try_word(word):
            raise _Unreadable(self.index, f"expected {word!r}, found {self._here()}")

    def _here(self) -> str:
        match = _WORD.match(self.text, self.index)
        if match:
            return shown(match[0])
        return shown(self.text[self.index]) if self.index < len(self.text) else "the end"

    def _mark(self, char: str) -> None:
        if not self._try_mark(char):
            raise _Unreadable(self.index, f"expected {char!r}, found {self._here()}")

    def _try_mark(self, char: str) -> bool:
        self._skip()
        if not self.text.startswith(char, self.index):
            return False
        self.index += len(char)
        return True

    def _end(self) -> None:
        self._skip()
        if self.index < len(self.text):
            raise _Unreadable(self.index, f"expected 'else' or the end, found {self._here()}")

    def _condition(self) -> Condition:
        self._mark("(")
        start, depth = self.index, 1
        while self.index < len(self.text):
            match = _TOKEN.match(self.text, self.index)
            piece = match[0] if match else self.text[self.index]
            depth += (piece in "([{") - (piece in ")]}")
            if depth == 0:
                break
            self.index += len(piece)
        end = self.index
        self._mark(")")
        return self._desugar(start, end)

    def _desugar(self, start: int, end: int) -> Condition:
        tokens = list(_TOKEN.finditer(self.text, start, end))
        pieces: list[str] = []
        offsets: list[int] = []
        skip_until = 0
        for number, token in enumerate(tokens):
            if number < skip_until:
                continue
            written, skip_until = self._piece(tokens, number)
            for piece, offset in written:
                pieces.append(piece)
                whole = piece == token[0]
                offsets.extend(offset + (i if whole else 0) for i in range(len(piece)))
        return Condition("".join(pieces), self.source, (*offsets, end))

    def _piece(self, tokens: list[re.Match[str]], number: int) -> tuple[list[tuple[str, int]], int]:
        """Give what a token becomes, each part with its offset, and the number of the next token."""
        token = tokens[number]
        if token[0] == "state" and (number == 0 or tokens[number - 1][0] != "."):
            rest = [n for n in range(number + 1, min(len(tokens), number + 5)) if tokens[n].lastgroup != "space"][:2]
            if len(rest) == 2 and tokens[rest[0]][0] in ("=", "==", "!=") and tokens[rest[1]].lastgroup == "string":
                return self._state(token, tokens[rest[0]], tokens[rest[1]]), rest[1] + 1
        return [("==" if token[0] == "=" else token[0], token.start())], number + 1

    def _state(self, name: re.Match[str], operator: re.Match[str], literal: re.Match[str]) -> list[tuple[str, int]]:
        written = literal[0].strip("'\"")
        fitting = [name for name in self.models if written.startswith(name + "_")]
        if not fitting:
            states = [f"{name}_{state}" for name, model in self.models.items() for state in model.states or ("…",)]
            message = f"state {shown(written)} starts with no declared model.{did_you_mean(written, states)}"
            self.findings.error("MCP0023", message, self.source.at(literal.start()))
            return [("false", name.start())]
        model = max(fitting, key=len)
        return [
            (f"{model}.state", name.start()),
            (" != " if operator[0] == "!=" else " == ", operator.start()),
            (f"'{written[len(model) + 1 :]}'", literal.start()),
        ]

    def _target(self) -> TrafficRoute:
        self._keyword("route_to")
        self._mark("(")
        options: dict[str, Any] = {}
        start = self.index
        while not self._try_mark(")"):
            if options:
                self._mark(",")
            name = self._word()
            if name.text not in OPTIONS or name.text in options:
                twice = (
                    "is written twice" if name.text in options else f"is no option.{did_you_mean(name.text, OPTIONS)}"
                )
                raise _Unreadable(name.offset, f"route_to: {shown(name.text)} {twice}")
            self._mark("=")
            options[name.text] = self._value(name.text)
        return self._route(options, start)

    def _value(self, option: str) -> Any:
        self._skip()
        offset = self.index
        if option in ("subset", "labels", "split"):
            return self._map()
        word = self._word()
        if option == "sticky":
            inner = offset + (self.text[offset] in "'\"")
            return Condition(word.text, self.source, tuple(range(inner, inner + len(word.text) + 1)))
        if option == "timeout" and not seconds(_number(word.text)):
            raise _Unreadable(offset, f"route_to: timeout is {shown(word.text)}; write seconds, or 500ms, 1m")
        return word.text

    def _word(self) -> _Word:
        self._skip()
        offset = self.index
        match = _STRING.match(self.text, offset) or _WORD.match(self.text, offset)
        if not match:
            raise _Unreadable(offset, f"expected a name or a quoted string, found {self._here()}")
        self.index = match.end()
        quoted = match.re is _STRING
        inner = (match[1] if match[1] is not None else match[2]) if quoted else match[0]
        return _Word(_ESCAPE.sub(r"\1", inner) if quoted else inner, offset)

    def _map(self) -> dict[str, _Word]:
        self._mark("{")
        entries: dict[str, _Word] = {}
        while not self._try_mark("}"):
            if entries:
                self._mark(",")
            name = self._word()
            if name.text in entries:
                raise _Unreadable(name.offset, f"route_to: {shown(name.text)} is written twice")
            self._mark(":")
            entries[name.text] = self._word()
        return entries

    def _route(self, options: dict[str, Any], start: int) -> TrafficRoute:
        labels = {name: word.text for key in ("subset", "labels") for name, word in options.get(key, {}).items()}
        split = tuple(Share(name, self._weight(word)) for name, word in options.get("split", {}).items())
        version = options.get("version", "")
        if split and (version or labels):
            raise _Unreadable(start, "route_to: 'split' excludes 'version' and 'subset'; write one")
        if ("sticky" in options and not split) or ("split" in options and not any(share.weight for share in split)):
            raise _Unreadable(start, "route_to: 'sticky' needs a 'split', and a split at least one weight above 0")
        if sum(share.weight for share in split) > 2**32 - 1:
            raise _Unreadable(start, f"route_to: the weights of a split add up to more than {2**32 - 1}")
        return TrafficRoute(
            subset=Subset(version, labels) if version or labels else None,
            split=split,
            sticky=options.get("sticky"),
            salt=options.get("salt", ""),
            priority=options.get("priority", ""),
            timeout=seconds(_number(options["timeout"])) if "timeout" in options else None,
        )

    def _weight(self, word: _Word) -> int:
        if not word.text.isascii() or not word.text.isdigit() or int(word.text[:12]) > 2**31 - 1:
            raise _Unreadable(word.offset, f"route_to: weight {shown(word.text)} is no integer from 0 to {2**31 - 1}")
        return int(word.text)


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
