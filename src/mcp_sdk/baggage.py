"""Business context on the wire: what this mesh's services tell each other in the W3C ``baggage`` header.

Members of ours are flat, and readable by any OpenTelemetry client::

    mcp_sdk.order.id=o-1,mcp_sdk.order.state=created,mcp_sdk.order.rev=7,mcp_sdk.order.amount=150000,
    mcp_sdk.peer=order-service,mcp_sdk.sig=k1.1767225660.2vWOZQa0fQJxS1mGzG6v0A

``rev`` is ``7+`` (sent as ``7%2B``) for a tentative change on top of revision 7. ``peer`` is the service that sent the
header: by it the receiver knows its caller (``source.service``) when the signature holds. ``sig`` covers every other
member of ours, decoded, together with mesh, namespace and environment (see ``mcp_sdk.signing``); each hop signs anew. A
header without contexts is signed too, for it says who calls. The signature binds neither request nor receiver: within
its lifetime a copy is as good as the original, which is why it lives a minute.

OpenTelemetry's propagator writes spaces as ``+`` and trims values. So in members of ours a raw ``+`` reads as a space,
and a value that begins or ends with white space, or begins with ``"``, travels in double quotes.

Sources: W3C Baggage; RFC 3986. Nothing here reads a clock, a file or the environment, and nothing raises for what came
over the wire.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from mcp_sdk import members
from mcp_sdk.context import EntityRef, ModelContext, Trust
from mcp_sdk.models import RESERVED_NAMES, BusinessModel
from mcp_sdk.ports import Identity
from mcp_sdk.signing import Keyring, Signature, Signer
from mcp_sdk.wire import PREFIX, VITAL, Drops, Fact, Plan, Problem, bare, count, fact

__all__ = [
    "HEADER",
    "NOTHING",
    "PREFIX",
    "Admitted",
    "Codec",
    "Encoded",
    "Parsed",
    "Problem",
    "admit",
    "foreign",
    "merged",
]

HEADER = "baggage"
PEER = PREFIX + "peer"
SIG = PREFIX + "sig"

MAX_MEMBERS = 24
MAX_OUR_BYTES = 2048
MAX_OURS = 64
"""More members of ours than this in one request nobody of ours has sent, and they are not looked at."""

MAX_LIFETIME = 300
"""Seconds ahead beyond which an expiry is not believed, so that nobody makes a signature last."""

LATELY, MAX_LATELY = 5.0, 256
"""For how many seconds, and for how many headers, what was verified is not verified again."""

_SIG_BYTES = len(f"{SIG}=.9999999999.") + 22
_NAME = r"[a-z][a-z0-9_]*+"
_OURS = re.compile(
    rf",(mcp_sdk\.(?:(?:({_NAME})\.)?({_NAME})|[a-z0-9_.]*+)=([\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*+))(?![^,])"
)
_OURS_WRITTEN = re.compile(
    r"(?:%[0-9A-Fa-f]{2}|[ \t+])*?"
    + "".join(f"(?:{re.escape(char)}|%{ord(char) >> 4:x}(?i:{ord(char) & 15:x}))" for char in PREFIX)
)
"""A key that anybody could decode to one of ours, whatever stands percent-encoded in front of it."""

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_tuple = tuple.__new__
_SIGNATURE = ("", "sig")
_said = itemgetter(0)
Found = tuple[str, str, str, str]
"""One member of ours that was read: what the signature covers, and the model, field and value in it.

Peer and signature have no model; a name that can be none of ours has neither model nor field.
"""

_NO_CONTEXTS: Mapping[str, ModelContext] = MappingProxyType({})
_NO_DROPS: Mapping[Problem, int] = MappingProxyType({})


class Parsed(NamedTuple):
    """What a header says, and how far it may be believed.

    ``contexts`` are by model, each marked with ``trust``. ``others`` are the raw members that are not ours, for sending
    on. ``peer`` is the sender's name as it claims. ``problems`` has one entry for each thing that is wrong; none holds
    text from the header.
    """

    contexts: Mapping[str, ModelContext] = _NO_CONTEXTS
    others: tuple[str, ...] = ()
    peer: str = ""
    trust: Trust = Trust.UNSIGNED
    problems: tuple[Problem, ...] = ()

    @property
    def references(self) -> tuple[EntityRef, ...]:
        """The entities of contexts that are past their time: to be looked up, for their ids were signed."""
        if self.trust is not Trust.EXPIRED:
            return ()
        return tuple(context.ref for context in self.contexts.values() if context.entity_id)


NOTHING = Parsed()


class Admitted(NamedTuple):
    """What an ingress lets in: contexts by model, references to look up, and the peer where it is known.

    ``dropped`` counts the contexts that were kept out, by reason.
    """

    contexts: Mapping[str, ModelContext] = _NO_CONTEXTS
    references: tuple[EntityRef, ...] = ()
    peer: str = ""
    peer_verified: bool = False
    dropped: Mapping[Problem, int] = _NO_DROPS


class Encoded(NamedTuple):
    """A header's value, empty when there is nothing to send, and counts of what did not get into it, by reason."""

    header: str
    dropped: Mapping[Problem, int] = _NO_DROPS


_NOT_ADMITTED = Admitted()


def admit(parsed: Parsed, mode: str) -> Admitted:
    """Apply an ingress mode (``mesh``, ``edge`` or ``open``) to what a header says.

    ``mesh``: what is not verified is as good as absent, but what is past its time leaves references. ``edge``: nothing
    of ours counts. ``open``: everything counts, marked by its trust.
    """
    if not (parsed.contexts or parsed.peer):
        return _NOT_ADMITTED
    if mode == "edge":
        return Admitted(dropped=_count(Problem.EDGE, parsed))
    if parsed.trust is Trust.VERIFIED:
        return _tuple(Admitted, (parsed.contexts, (), parsed.peer, bool(parsed.peer), _NO_DROPS))
    if mode == "open":
        return Admitted(parsed.contexts, parsed.references, parsed.peer)
    return Admitted(references=parsed.references, dropped=_count(Problem(parsed.trust.value), parsed))


def _count(problem: Problem, parsed: Parsed) -> Mapping[Problem, int]:
    return {problem: len(parsed.contexts)} if parsed.contexts else _NO_DROPS


def foreign(lines: Iterable[str | bytes]) -> tuple[str, ...]:
    """Give the raw members of some header lines that are not ours, for a transport that puts ours in front."""
    return tuple(raw for raw in members.safe(members.split(members.join(lines))) if not _is_ours(raw))


def merged(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """Give the raw members of ``first``, then those of ``second`` whose key ``first`` does not have."""
    ahead = tuple(first)
    keys = {members.key_of(raw) for raw in ahead}
    return ahead + tuple(raw for raw in second if members.key_of(raw) not in keys)


class _Verified(NamedTuple):
    """What a header said whose signature held, and until when."""

    parsed: Parsed
    expiry: int


class _Lately:
    """What verified headers said in the last seconds, by text (``docs/decisions/0005-verified-headers.md``).

    Only what was verified is kept, so nobody without a key fills it. All of it is dropped when ``LATELY`` seconds have
    passed, and when ``MAX_LATELY`` headers are held.
    """

    __slots__ = ("_held", "_until")

    def __init__(self) -> None:
        self._held: dict[str, _Verified] = {}
        self._until = 0.0

    def get(self, text: str, now: float) -> _Verified | None:
        """Give what a header said, if it was verified lately; whether it still holds is for the caller to tell."""
        if not self._until - LATELY <= now < self._until:
            self._held, self._until = {}, now + LATELY
        return self._held.get(text)

    def put(self, text: str, verified: _Verified) -> None:
        """Keep what a verified header said."""
        if len(self._held) >= MAX_LATELY:
            self._held = {}
        self._held[text] = verified


class Codec:
    """Reads and writes ``baggage`` for one identity. Safe to share between threads.

    ``models`` may be a live mapping: what is declared later counts from then on. ``ttl`` is how long a signature is
    believed, ``skew`` how far clocks may be apart, both in seconds. ``now`` in the methods is seconds since the epoch.
    """

    def __init__(
        self,
        keyring: Keyring,
        identity: Identity,
        models: Mapping[str, BusinessModel],
        *,
        ttl: float = 60.0,
        skew: float = 5.0,
    ) -> None:
        self.models: Mapping[str, BusinessModel] = models
        self.ttl: float = ttl
        self.skew: float = skew
        self._horizon = max(ttl, MAX_LIFETIME) + skew
        self.signer: Signer = Signer(keyring, identity)
        self._lately = _Lately()
        self._plans: dict[str, Plan] = {}
        self._peer = fact(VITAL, PEER, identity.service) if identity.service else None
        taken = _SIG_BYTES + len(keyring.newest.kid) + (len(self._peer[2]) + 1 if self._peer else 0)
        self._room = MAX_OUR_BYTES - taken

    def encode(self, contexts: Iterable[ModelContext], *, now: float, others: Sequence[str] = ()) -> Encoded:
        """Give the header that carries ``contexts``, signed, and behind them ``others``, raw members that are not ours.

        Contexts that are neither local, nor stored, nor verified are dropped; so is a second one of a model. Over the
        budget of 24 members and 2 KiB whole members are dropped: attributes by rising priority, then revisions, states
        and ids, the last contexts first; a tentative context is never sent without its mark. Others are dropped from
        the end where the whole header would pass 8192 bytes (W3C Baggage, "Limits").
        """
        dropped: Drops = {}
        facts = self._fit(self._facts(contexts, dropped), dropped)
        ours = self._signed(facts if self._peer is None else [*facts, self._peer], now)
        if others:
            kept = members.fitting(foreign(others), members.MAX_BYTES - sum(map(len, ours)) - len(ours))
            if len(kept) < len(others):
                count(dropped, Problem.OTHERS, len(others) - len(kept))
            ours += kept
        return Encoded(",".join(ours), dropped or _NO_DROPS)

    def _facts(self, contexts: Iterable[ModelContext], dropped: Drops) -> list[Fact]:
        facts: list[Fact] = []
        seen: set[str] = set()
        for context in contexts:
            if not context.trust.counts:
                count(dropped, Problem.UNTRUSTED)
            elif context.model in seen:
                count(dropped, Problem.DUPLICATE)
            else:
                seen.add(context.model)
                facts += self._plan(context.model).facts(context, dropped)
        return facts

    def _fit(self, facts: list[Fact], dropped: Drops) -> list[Fact]:
        if len(facts) <= MAX_MEMBERS - 2 and sum([len(raw) for _, _, raw, _ in facts]) + len(facts) <= self._room:
            return facts
        kept: list[Fact] = []
        lost, room = set(), self._room
        for each in sorted(facts, key=lambda each: each[0]):
            rank, _, raw, model = each
            if model in lost or len(kept) == MAX_MEMBERS - 2 or len(raw) + 1 > room:
                count(dropped, Problem.BUDGET)
                if rank == VITAL:
                    lost.add(model)
            else:
                kept.append(each)
                room -= len(raw) + 1
        return kept

    def _signed(self, facts: list[Fact], now: float) -> list[str]:
        if not facts:
            return []
        signature = self.signer.sign([said for _, said, _, _ in facts], math.ceil(now + self.ttl))
        return [*[raw for _, _, raw, _ in facts], f"{SIG}={signature}"]

    def parse(self, lines: Iterable[str | bytes], *, now: float) -> Parsed:
        """Read all the ``baggage`` lines of a request. Never raises for what is in them."""
        text = members.join(lines)
        if not text:
            return NOTHING
        lately = self._lately
        known = lately.get(text, now)
        if known is not None and self._still_holds(known, now):
            return known.parsed
        found, others, problems = _sorted_out(text)
        if not found and not problems:
            return Parsed(others=others)
        models = _by_model(found, problems)
        parsed = self._believed(models, found, others, problems, now)
        if parsed.trust is Trust.VERIFIED and not problems:
            lately.put(text, _Verified(parsed, int(models[""]["sig"].split(".")[1])))
        return parsed

    def _still_holds(self, known: _Verified, now: float) -> bool:
        """Tell whether what a verified header said is still to be believed, and would still be read the same way."""
        if not now - self.skew <= known.expiry <= now + self._horizon:
            return False
        for name in known.parsed.contexts:
            plan = self._plans.get(name)
            if self.models.get(name) is not (plan.model if plan is not None else None):
                return False
        return True

    def _believed(
        self,
        models: Mapping[str, dict[str, str]],
        found: list[Found],
        others: tuple[str, ...],
        problems: list[Problem],
        now: float,
    ) -> Parsed:
        alone = models[""]
        trust = self._trust(alone.get("sig"), found, now, problems)
        peer = alone.get("peer", "")
        contexts = {}
        for model, fields in models.items():
            if not model:
                continue
            context = self._plan(model).context(fields, peer, trust, problems)
            if context is not None:
                contexts[model] = context
        return _tuple(Parsed, (MappingProxyType(contexts), others, peer, trust, tuple(problems)))

    def _trust(self, text: str | None, found: list[Found], now: float, problems: list[Problem]) -> Trust:
        if text is None:
            problems += [Problem.UNSIGNED] if found else []
            return Trust.UNSIGNED
        broken = bool(problems) and (Problem.MALFORMED in problems or Problem.DUPLICATE in problems)
        problem = self._complaint(text, found, now)
        if problem is not None:
            problems.append(problem)
        if broken or (problem is not None and problem is not Problem.EXPIRED):
            return Trust.BAD_SIGNATURE
        return Trust.VERIFIED if problem is None else Trust.EXPIRED

    def _complaint(self, text: str, found: list[Found], now: float) -> Problem | None:
        signature = Signature.parse(text)
        if signature is None:
            return Problem.MALFORMED_SIGNATURE
        if not self.signer.knows(signature.kid):
            return Problem.UNKNOWN_KEY
        if signature.expiry > now + self._horizon:
            return Problem.EXPIRY_TOO_FAR
        if not self.signer.verify(signature, _covered(found)):
            return Problem.BAD_SIGNATURE
        return Problem.EXPIRED if signature.expiry < now - self.skew else None

    def _plan(self, name: str) -> Plan:
        plan, model = self._plans.get(name), self.models.get(name)
        if plan is None or plan.model is not model:
            plan = Plan(name, model)
            if model is not None:  # what a stranger names must not fill memory
                self._plans[name] = plan
                self._lately = _Lately()  # what was read by another plan, also by a thread that is at it now
        return plan


def _covered(found: list[Found]) -> Iterable[str]:
    """Give what a signature is over: every member but itself, which commonly stands last."""
    if found[-1][1:3] == _SIGNATURE:
        return map(_said, found[:-1])
    return [each[0] for each in found if each[1:3] != _SIGNATURE]


def _is_ours(raw: str) -> bool:
    return _OURS_WRITTEN.match(raw) is not None


def _sorted_out(text: str) -> tuple[list[Found], tuple[str, ...], list[Problem]]:
    """Give our members as they read, the others' raw, and what was wrong with the list."""
    found: list[Found] = _OURS.findall("," + text) if len(text) <= members.MAX_BYTES else []
    if found and len(found) == text.count(",") + 1 <= MAX_OURS:
        problems: list[Problem] = []
        return (_decoded(found, problems) if "%" in text or "+" in text else found), (), problems
    return _sorted_apart(text)


def _sorted_apart(text: str) -> tuple[list[Found], tuple[str, ...], list[Problem]]:
    """Do the same for a list that holds members of others, or some that do not read well."""
    problems: list[Problem] = []
    if len(text) > members.MAX_READ:
        text = text[: members.MAX_READ].rpartition(",")[0]
        problems.append(Problem.OVERSIZE)
    raws = members.split(text)
    if not (text.isascii() and text.isprintable()):
        kept = members.safe(raws)
        problems += [Problem.UNSAFE] * (len(raws) - len(kept))
        raws, text = kept, ",".join(kept)
    others = [raw for raw in raws if raw[:_PREFIX] != PREFIX]
    if others and ("%" in text or "+" in text):
        others = [raw for raw in others if not _is_ours(raw)]
    if len(others) == len(raws):
        return [], tuple(others), problems
    if len(raws) - len(others) > MAX_OURS:
        return [], tuple(others), [*problems, Problem.OVERSIZE]
    found: list[Found] = _OURS.findall("," + text) if len(text) <= members.MAX_BYTES else []
    if len(found) + len(others) != len(raws):
        found = _carefully([raw for raw in raws if _is_ours(raw)], problems)
    if "%" in text or "+" in text:
        found = _decoded(found, problems)
    return found, tuple(others), problems


def _carefully(ours: list[str], problems: list[Problem]) -> list[Found]:
    """Read our raw members one by one; what cannot be read is left out and noted."""
    if sum(map(len, ours)) > members.MAX_BYTES:
        problems.append(Problem.OVERSIZE)
        return []
    found = [match for raw in ours for match in _OURS.findall("," + _tidied(raw))]
    problems += [Problem.MALFORMED] * (len(ours) - len(found))
    return found


def _tidied(raw: str) -> str:
    """Take away the properties, which mean nothing on members of ours, and the white space within."""
    name, equals, value = raw.partition(";")[0].partition("=")
    return name.strip(" \t") + equals + value.strip(" \t")


def _decoded(found: list[Found], problems: list[Problem]) -> list[Found]:
    decoded = [each if "%" not in each[3] and "+" not in each[3] else _decode(each) for each in found]
    readable = [each for each in decoded if each is not None]
    problems += [Problem.MALFORMED] * (len(found) - len(readable))
    return readable


def _decode(each: Found) -> Found | None:
    said, model, name, value = each
    if _BAD_ESCAPE.search(value):
        return None
    try:
        text = unquote_to_bytes(value.replace("+", " ")).decode()
    except UnicodeDecodeError:
        return None
    return said.partition("=")[0] + "=" + text, model, name, bare(text)


def _by_model(found: list[Found], problems: list[Problem]) -> dict[str, dict[str, str]]:
    """Give the fields by model, those of peer and signature under the empty name. Of twins neither counts."""
    models: dict[str, dict[str, str]] = {"": {}}
    for _, model, name, value in found:
        fields = models.get(model)
        if fields is None:
            fields = models[model] = {}
        fields[name] = value
    usual = sum(map(len, models.values())) == len(found) and models[""].keys() <= _ALONE
    return models if usual and RESERVED_NAMES.isdisjoint(models) else _sifted(found, problems)


def _sifted(found: list[Found], problems: list[Problem]) -> dict[str, dict[str, str]]:
    """Do the same where there are twins, or names that are none of ours."""
    models: dict[str, dict[str, str]] = {"": {}}
    twins: list[tuple[dict[str, str], str]] = []
    for _, model, name, value in found:
        if model in RESERVED_NAMES if model else name not in _ALONE:
            problems.append(Problem.UNKNOWN_NAME)
            continue
        fields = models.setdefault(model, {})
        if name in fields:
            twins.append((fields, name))
        fields[name] = value
    for fields, name in twins:
        fields.pop(name, None)
        problems.append(Problem.DUPLICATE)
    return models


_PREFIX = len(PREFIX)
_ALONE = frozenset({"peer", "sig"})
