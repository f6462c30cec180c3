"""Where a rule matches, as boxes of facts, and what is left of them once other rules took theirs.

A box gives for each fact that a rule looks at the values it may have; a rule matches somewhere in its boxes and nowhere
else. All that is asked here is whether nothing is left, and the answer is yes only when that is certain: facts are
taken to be independent of each other, so there may be fewer calls than boxes show, and never more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from mcp_sdk.models import INT64, BusinessModel
from mcp_sdk.policy.analysis.witnesses import witnessed
from mcp_sdk.policy.cel.presence import cannot_err
from mcp_sdk.policy.cel.schema import FIXED, fields_of
from mcp_sdk.policy.lookup.domains import ABSENT, Domain
from mcp_sdk.policy.lookup.normal import OPAQUE, Form, Path, facts_of, opaque_part

__all__ = ["TENTATIVE", "Box", "Space", "covering"]

Box = Mapping[Path, Domain]
TENTATIVE = "~"
"""Begins the path that says whether a model's context is tentative."""

MAX_PIECES = 64
MAX_CUTS, CUTS_OF_A_RULE = 500_000, 1000
"""So many boxes are cut by others in all, and for one rule; past that nothing more is claimed of several together."""
FEW = 16
_BOTH = frozenset({True, False})
_TYPES: Mapping[str, Domain] = {
    "bool": Domain(_BOTH),
    "int": Domain(None, -INT64, INT64),
    "string": Domain(None, ""),
}


class Space:
    """All that facts can be, by what is declared. ``open`` lets a state be one that its model does not declare."""

    def __init__(self, models: Mapping[str, BusinessModel], *, open: bool = False) -> None:  # noqa: A002 - as in "open world"
        self.models, self.open = models, open
        self.cuts = MAX_CUTS
        self._known: dict[Path, Domain] = {}

    @cached_property
    def opened(self) -> Space:
        """The same space with states that nobody declared."""
        return Space(self.models, open=True)

    def all_of(self, path: Path) -> Domain:
        """Give everything that a fact can be."""
        found = self._known.get(path)
        if found is None:
            found = self._known[path] = self._find(path)
        return found

    def _find(self, path: Path) -> Domain:
        if path[0] == TENTATIVE:
            return Domain(_BOTH)
        if path[0] == OPAQUE:
            return Domain(_BOTH, absent=not cannot_err(opaque_part(path), frozenset()))
        if path[0] in FIXED:
            owner = "Geo" if path[1] == "geo" else path[0]
            return _TYPES.get(FIXED[owner][path[-1]], Domain())
        model = self.models.get(path[0])
        if path[1] == "state" and model is not None and model.states and not self.open:
            return Domain(frozenset(model.states), absent=True)
        return _TYPES.get(fields_of(path[0], self.models).get(path[1], ""), Domain())._replace(absent=True)

    def boxes(self, forms: Iterable[Form], constants: Sequence[Any]) -> list[Box]:
        """Give the boxes of a condition; none when it certainly never holds."""
        found: list[Box] = []
        for form in forms:
            facts = facts_of(form, constants)
            if facts is not None:
                facts = {path: _tidied(domain.meet(self.all_of(path))) for path, domain in facts.items()}
                if not any(domain.empty for domain in facts.values()):
                    found.append(facts)
        return found

    def minus(self, box: Box, taken: Box) -> list[Box]:
        """Give what is left of a box, in pieces that do not overlap; the box itself where ``taken`` takes nothing."""
        if self.apart(box, taken):
            return [box]
        pieces: list[Box] = []
        rest = dict(box)
        for path, domain in taken.items():
            held = rest.get(path) or self.all_of(path)
            pieces += [{**rest, path: part} for part in _without(held, domain)]
            rest[path] = _tidied(held.meet(domain))
        return pieces

    def within(self, box: Box, other: Box) -> bool:
        """Tell whether all of a box is certainly in another."""
        for path, domain in other.items():  # noqa: SIM110 - asked millions of times
            if not (box.get(path) or self.all_of(path)).within(domain):
                return False
        return True

    def apart(self, box: Box, other: Box) -> bool:
        """Tell whether two boxes certainly have nothing in common."""
        for path, domain in other.items():  # noqa: SIM110 - asked millions of times
            if domain.apart(box.get(path) or self.all_of(path)):
                return True
        return False

    def left(self, boxes: Sequence[Box], taken: Iterable[Box]) -> list[Box]:
        """Give what is left of boxes; where that comes in too many pieces, more than is left."""
        pieces = list(boxes)
        for one in taken:
            self.cuts -= len(pieces)
            cut = [piece for box in pieces for piece in self.minus(box, one)]
            if len(cut) <= MAX_PIECES:
                pieces = cut
            if not pieces:
                break
        return pieces


def covering(space: Space, boxes: Sequence[Box], takers: Mapping[int, Sequence[Box]]) -> list[int] | None:
    """Give those of ``takers`` that certainly leave nothing of ``boxes``, few; None when something may be left."""
    near = {
        number: taken
        for number, taken in takers.items()
        if not all(space.apart(box, other) for box in boxes for other in taken)
    }
    for number, taken in near.items():
        if all(any(space.within(box, other) for other in taken) for box in boxes):
            return [number]
    pieces: list[Box] = list(boxes)
    used: dict[int, Sequence[Box]] = {}
    if witnessed(boxes, (other for taken in near.values() for other in taken), space.all_of):
        return None
    enough = space.cuts - CUTS_OF_A_RULE
    for number, taken in near.items():
        if space.cuts < max(enough, 0):
            return None
        pieces, used[number] = space.left(pieces, taken), taken
        if not pieces:
            return _fewest(space, boxes, used)
    return None


def _fewest(space: Space, boxes: Sequence[Box], takers: dict[int, Sequence[Box]]) -> list[int]:
    for number in list(takers) if len(takers) <= FEW else ():
        others = [box for other, taken in takers.items() if other != number for box in taken]
        if not space.left(boxes, others):
            del takers[number]
    return list(takers)


def _without(held: Domain, taken: Domain) -> Iterator[Domain]:
    """Yield the parts of a domain that another does not have."""
    if held.absent and not taken.absent:
        yield ABSENT
    for part in _present_without(held._replace(absent=False), taken):
        tidy = _tidied(part)
        if not tidy.empty:
            yield tidy


def _present_without(held: Domain, taken: Domain) -> Iterator[Domain]:
    if held.values is not None:
        yield Domain(frozenset(value for value in held.values if value not in taken))
    elif taken.values is not None:
        yield held._replace(but=held.but | taken.values)
    else:
        if taken.low is not None:
            yield held.meet(Domain(high=taken.low))
        if taken.high is not None:
            yield held.meet(Domain(low=taken.high))
        if any(isinstance(end, float) for end in (taken.low, taken.high)) and held.low is held.high is None:
            yield Domain(frozenset({math.nan}))
        yield Domain(frozenset(value for value in taken.but if value in held))


def _tidied(domain: Domain) -> Domain:
    """Write an interval of few values as those values."""
    low, high = domain.low, domain.high
    if domain.values is not None or low is None or high is None:
        return domain
    values: Iterable[Any]
    if not low < high:
        values = ()
    elif isinstance(low, str) and high == low + "\0":
        values = (low,)
    elif isinstance(low, int) and isinstance(high, int) and high - low <= FEW:
        values = range(low, high)
    else:
        return domain
    return Domain(frozenset(values) - domain.but, absent=domain.absent)
