"""What an engine must do to be measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from policy_engines.rules import Call, RuleSet

__all__ = ["Entrant", "NotExpressible"]


class NotExpressible(Exception):
    """The engine has no words for a rule set; the text says which."""


class Entrant(ABC):
    """One engine: writes rules in its language, loads them, and finds the rule of a call.

    Timed are ``load`` and ``find``; calls are made into the engine's own form of input by ``input`` beforehand, and the
    rule is read out of its answer by ``rule_of`` afterwards, neither on the clock.
    """

    name: ClassVar[str]
    find: Callable[[Any], Any]
    """Answer one call in the engine's own form; a method, or set by ``load``."""

    @abstractmethod
    def source(self, rule_set: RuleSet) -> str:
        """Write rules as the text that the engine loads; raises ``NotExpressible``."""

    @abstractmethod
    def load(self, text: str) -> None:
        """Make ready to decide by a text."""

    @abstractmethod
    def input(self, call: Call) -> Any:
        """Give a call in the engine's own form."""

    @abstractmethod
    def rule_of(self, answer: Any) -> str | None:
        """Give the name of the rule that an answer comes from; None when none matched."""
