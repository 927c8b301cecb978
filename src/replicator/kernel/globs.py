"""Globs of whole keys.

`?` and `[…]` stand for one character and `*` for any number of them, none of which is a slash; `**` stands for
any number of any characters, and `**/` at the beginning of a segment also for nothing, so that `**/a` finds `a`.
`[a-c_]` is one of these, `[!a-c]` one that is none of them; every other character stands for itself, the others
in brackets: `[*]`.

Matching takes time that grows with the square of the key's length at most. A pattern becomes a regular expression
in which every `**` is tied to what follows it up to the next one, and in there every `*` likewise, in atomic
groups that take the leftmost match and never look for another. That finds every match there is: what follows the
leftmost match of such a part has all the room it would have after a later one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from replicator.kernel.errors import InvalidRequest

_ANY = {"*": "[^/]*?", "**": ".*?", "**/": "(?:.*?/)??"}


def compile_globs(globs: Sequence[str]) -> re.Pattern[str]:
    """An expression whose `fullmatch` finds the keys that at least one of `globs` matches.

    Raises:
        InvalidRequest: a pattern has brackets that do not close, hold nothing, or a range that is backwards.
    """
    return re.compile("|".join(_expression(glob) for glob in globs), re.DOTALL)


def _expression(glob: str) -> str:
    """Each `**` with all that follows it up to the next one, and in there each `*` likewise."""
    parts = _split(list(_tokens(glob)), {"**", "**/"})
    *inner, last = [_segmented(part, is_last=part is parts[-1]) for part in parts]
    return "".join(f"(?>{part})" for part in inner) + last


def _segmented(tokens: list[str], *, is_last: bool) -> str:
    first, *rest = ["".join(_ANY.get(token, token) for token in part) for part in _split(tokens, {"*"})]
    # Where the first matches, the rest may not, on this side of a slash: then the first is tried further on. What
    # stands at the end of the key must not be content with its leftmost match.
    atomic = rest[:-1] if is_last else rest
    return first + "".join(f"(?>{part})" for part in atomic) + "".join(rest[len(atomic) :])


def _split(tokens: list[str], wildcards: set[str]) -> list[list[str]]:
    """`tokens` in parts, of which each but the first begins with one of `wildcards`."""
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token in wildcards:
            parts.append([])
        parts[-1].append(token)
    return parts


def _tokens(glob: str) -> Iterator[str]:
    """The wildcards for any number of characters as they are, everything else as an expression."""
    at = 0
    while at < len(glob):
        match glob[at]:
            case "*":
                end = at
                while end < len(glob) and glob[end] == "*":
                    end += 1
                crosses, begins = end - at > 1, at == 0 or glob[at - 1] == "/"
                token = "**" if crosses else "*"
                if crosses and begins and glob[end : end + 1] == "/":
                    token, end = "**/", end + 1
            case "?":
                token, end = "[^/]", at + 1
            case "[":
                token, end = _class(glob, at)
            case literal:
                token, end = re.escape(literal), at + 1
        yield token
        at = end


def _class(glob: str, start: int) -> tuple[str, int]:
    """The expression for the brackets that open at `start`, and where they have closed."""
    negated = glob[start + 1 : start + 2] in {"!", "^"}
    first = start + 1 + negated
    # A bracket that closes right at the beginning is a member.
    end = glob.find("]", first + 1)
    if end < 0:
        raise InvalidRequest(f"the glob '{glob}' has a '[' that no ']' closes; write '[[]' for the character")
    members = "".join(_members(glob, glob[first:end]))
    return f"(?!/)[{'^' * negated}{members}]", end + 1


def _members(glob: str, text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        if text[at + 1 : at + 2] == "-" and at + 2 < len(text):
            if text[at] > text[at + 2]:
                raise InvalidRequest(
                    f"the glob '{glob}' has a range that is backwards: '{text[at : at + 3]}'"
                )
            yield f"{re.escape(text[at])}-{re.escape(text[at + 2])}"
            at += 3
        else:
            yield re.escape(text[at])
            at += 1
