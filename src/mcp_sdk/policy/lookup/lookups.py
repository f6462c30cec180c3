"""Generated look-ups of the index: one way into a table or a row of slots, with nothing called on the way.

There are two dozen: from a model's fact, its state or a fixed variable, by value, prefix, prefixes of several lengths
or interval, to a rule's number or to its outcome. Each is compiled once; nodes give it their path and parts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any

from mcp_sdk.policy.cel.schema import FIXED

__all__ = ["heads_find", "heads_first", "quick_find", "quick_first", "reader"]

_MODEL = """context = c.get(model)
{i}value = None if context is None else (context._facts or context.facts).get(fact)"""
_STATE = """context = c.get(model)
{i}value = None if context is None else context.state"""
_FIXED = "value = read(c, q)"
_BY_VALUE = "get(value) if value.__class__ is kind else other(value, c)"
_BY_HEAD = "head(value[:length]) if value.__class__ is kind else other(value, c)"
_BY_INTERVAL = "slots[bisect(cuts, value)] if value.__class__ is kind else other(value, c)"
_FIND = """
def make(model, fact, read, kind, other, get, head, length, cuts, slots, tree, conditions):
    search = tree.search
    def find(c, q, limit):
        {read}
        part = {pick}
        if part.__class__ is int and part >= 0:
            return part if part < limit else limit
        return limit if part is None else search(part, c, q, limit)
    return find
"""
_FIRST = """
def make(
    model, fact, read, kind, other, get, head, length, cuts, slots, tree, conditions, outcomes, outcome, default
):
    def first(c, q):
        try:
            {read}
            part = {pick}
            if part is None:
                return default
            if part.__class__ is not int:
                part = tree.search(part, c, q, tree.size)
                if part == tree.size:
                    return default
            elif part < 0:
                part = ~part
                try:
                    if not (conditions[part] or tree.left(part))(c, q):
                        return default
                except Exception:
                    if not tree.on_error[part]:
                        return default
        except Exception:
            part = next(tree.linear(c, q), None)
            if part is None:
                return default
        return outcomes[part] or outcome(part)
    return first
"""
_EACH_HEAD = """for length in lengths:
{i}    part = head(value[:length])
{i}    if part is None:
{i}        continue
{i}    if part.__class__ is int and part < 0:
{i}        number = ~part
{i}        try:
{i}            if number < limit and (conditions[number] or tree.left(number))(c, q):
{i}                limit = number
{i}        except Exception:
{i}            if tree.on_error[number]:
{i}                limit = number
{i}    else:
{i}        limit = tree.search(part, c, q, limit)"""
_HEADS = """
def make(model, fact, read, kind, other, get, head, length, cuts, slots, tree, conditions, lengths):
    def find(c, q, limit):
        {read}
        if value.__class__ is not kind:
            part = other(value, c)
            return limit if part is None else tree.search(part, c, q, limit)
        {pick}
        return limit
    return find
"""
_FIRST_HEADS = """
def make(
    model, fact, read, kind, other, get, head, length, cuts, slots, tree, conditions, lengths,
    outcomes, outcome, default
):
    size = tree.size
    def first(c, q):
        limit = size
        try:
            {read}
            if value.__class__ is kind:
                {pick}
            else:
                part = other(value, c)
                limit = size if part is None else tree.search(part, c, q, size)
        except Exception:
            limit = next(tree.linear(c, q), size)
        return default if limit == size else outcomes[limit] or outcome(limit)
    return first
"""
_INDENTS = {_FIND: (8, 8), _FIRST: (12, 12), _HEADS: (8, 8), _FIRST_HEADS: (12, 16)}
"""How deep the reading and the picking stand in each text."""


def reader(path: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    """Give the function of ``(c, q)`` that reads a fact; None where it is absent.

    A fact that is there and is None has no place in an index: it raises ``TypeError``.
    """
    if path[0] in FIXED:
        get = attrgetter(".".join(path))
        return lambda _c, q: get(q)
    model, fact = path

    def read(c: Any, _q: Any) -> Any:
        context = c.get(model)
        value = None if context is None else context.facts.get(fact)
        if value is None and context is not None and fact in context.facts:
            raise TypeError(f"{model}.{fact} is None")
        return value

    return read


@lru_cache(maxsize=24)
def _compiled(template: str, read: str, pick: str) -> Callable[..., Any]:
    reading, picking = (" " * indent for indent in _INDENTS[template])
    text = template.replace("{read}", read.replace("{i}", reading)).replace("{pick}", pick.replace("{i}", picking))
    space: dict[str, Any] = {"bisect": bisect_right}
    exec(compile(text, "<mcp_sdk look-up>", "exec"), space)  # noqa: S102 - one of two dozen texts, all here
    made: Callable[..., Any] = space["make"]
    return made


def _parts(tree: Any, node: Any) -> tuple[Any, ...]:
    model, fact = node.path[0], node.path[-1]
    length = node.lengths[0] if node.lengths else 0
    ends = (node.table.get, node.heads.get, length, node.cuts, node.slots)
    return (model, fact, node.read, node.kind, _other(node), *ends, tree, tree.conditions)


def _other(node: Any) -> Callable[[Any, Any], Any]:
    """Give the part for a value that is no key: that of absence; a value of another type raises ``TypeError``.

    So does a state that lies among the attributes.
    """
    read, absent = node.read, node.absent

    def other(value: Any, c: Any) -> Any:
        if value is not None or read(c, None) is not None:
            raise TypeError(f"{value.__class__.__name__} is no key")
        return absent

    return other


def _of(template: str, node: Any) -> Callable[..., Any]:
    model, fact = node.path[0], node.path[-1]
    read = _FIXED if model in FIXED else _STATE if fact == "state" else _MODEL
    if template in (_HEADS, _FIRST_HEADS):
        return _compiled(template, read, _EACH_HEAD)
    return _compiled(template, read, _BY_INTERVAL if node.slots else _BY_HEAD if node.lengths else _BY_VALUE)


def quick_find(tree: Any, node: Any) -> Callable[[Any, Any, int], int]:
    """Give the look-up ``(c, q, limit)`` of a plain node: the first matching rule before a limit, else the limit."""
    found: Callable[[Any, Any, int], int] = _of(_FIND, node)(*_parts(tree, node))
    return found


def heads_find(tree: Any, node: Any) -> Callable[[Any, Any, int], int]:
    """Give the look-up ``(c, q, limit)`` of a node that finds by prefixes of several lengths alone."""
    found: Callable[[Any, Any, int], int] = _of(_HEADS, node)(*_parts(tree, node), node.lengths)
    return found


def quick_first(tree: Any, outcomes: list[Any], outcome: Callable[[int], Any], default: Any) -> Callable[..., Any]:
    """Give the look-up ``(c, q)`` of a tree whose root is plain: the outcome of its first matching rule."""
    found: Callable[..., Any] = _of(_FIRST, tree.root)(*_parts(tree, tree.root), outcomes, outcome, default)
    return found


def heads_first(tree: Any, outcomes: list[Any], outcome: Callable[[int], Any], default: Any) -> Callable[..., Any]:
    """Give the same of a tree whose root finds by prefixes of several lengths alone."""
    root = tree.root
    made = _of(_FIRST_HEADS, root)
    found: Callable[..., Any] = made(*_parts(tree, root), root.lengths, outcomes, outcome, default)
    return found
