"""A text that a regular expression matches, for the usual expressions: the first of alternatives, one of a class.

Source of the syntax: RE2 (github.com/google/re2/wiki/Syntax). It is a guess that whoever asks verifies: what is beyond
it (word boundaries, flags, Unicode classes) gives a text that may not match.
"""

from __future__ import annotations

__all__ = ["matching_text"]

MOST = 50
_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a", "n": "\n", "t": "\t", "A": "", "z": "", "b": ""}
_OTHERS = "a0-A_ ~"


def matching_text(expression: str) -> str:
    """Give a text that an expression probably matches."""
    return _Reader(expression).alternatives()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def alternatives(self) -> str:
        """Read up to the end of a group; give the text of the first alternative."""
        found = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            found.append(self.sequence())
        return found[0]

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        self.at += 1
        return self.text[self.at - 1 : self.at]

    def sequence(self) -> str:
        parts = []
        while self.peek() not in ("", "|", ")"):
            part = self.atom()
            parts.append(part * self.times())
        return "".join(parts)

    def atom(self) -> str:
        char = self.take()
        if char == "\\":
            escaped = self.take()
            return _CLASSES.get(escaped, escaped)
        if char == "[":
            return self.members()
        if char == "(":
            return self.group()
        return {".": "a", "^": "", "$": ""}.get(char, char)

    def group(self) -> str:
        if self.peek() == "?":
            while self.peek() not in ("", ":", ">", ")"):
                self.at += 1
            if self.peek() in (":", ">"):
                self.at += 1
        inner = self.alternatives()
        self.at += 1
        return inner

    def members(self) -> str:
        """Read a class; give its first member, or something that it does not name."""
        denied = self.peek() == "^"
        self.at += denied
        end = self.text.find("]", self.at + 1)
        named = self.text[self.at : end if end > 0 else len(self.text)]
        self.at = end + 1 if end > 0 else len(self.text)
        if denied:
            return next((char for char in _OTHERS if char not in named), "é")
        return _CLASSES.get(named[1:2], named[1:2]) if named.startswith("\\") else named[:1]

    def times(self) -> int:
        """Read what repeats an atom; give how often it is to stand."""
        char = self.peek()
        if char not in ("*", "+", "?", "{"):
            return 1
        self.at += 1
        count = 1
        if char == "{":
            end = self.text.find("}", self.at)
            least = self.text[self.at : max(end, self.at)].partition(",")[0]
            self.at = max(end, self.at) + 1
            count = min(int(least), MOST) if least.isdecimal() and least.isascii() else 1
        self.at += self.peek() == "?"
        return count
