"""What each wildcard stands for, and which globs are refused."""

import pytest

from replicator.kernel.errors import InvalidRequest
from replicator.kernel.globs import compile_globs

CASES = [
    ("a.txt", ["a.txt"], ["a-txt", "a.txt2", "b/a.txt", ""]),
    ("*.txt", ["a.txt", ".txt"], ["a/b.txt", "a.txtx"]),
    ("photos/*", ["photos/a", "photos/"], ["photos/a/b", "photos"]),
    ("photos/**", ["photos/a", "photos/a/b", "photos/"], ["photos", "xphotos/a"]),
    ("**", ["a", "a/b", "a//b"], []),
    ("**/*.jpg", ["a.jpg", "x/a.jpg", "x/y/a.jpg"], ["a.jpg/x", "a.png"]),
    ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "ab"]),
    ("a**b", ["ab", "a/b", "axyb", "ab/ab"], ["ba"]),
    ("?.txt", ["a.txt", "é.txt"], ["ab.txt", "/.txt", ".txt"]),
    ("[a-c]x", ["ax", "bx"], ["dx", "x"]),
    ("[!a-c]x", ["dx"], ["ax", "/x"]),
    ("[^a]", ["b"], ["a", "/"]),
    ("[]]", ["]"], ["["]),
    ("[!]]", ["x"], ["]"]),
    ("[-a]", ["-", "a"], ["b"]),
    ("[*]", ["*"], ["a"]),
    ("[+-0]", [".", "+", "0"], ["/"]),
    ("a+(b)|c", ["a+(b)|c"], ["aab", "c"]),
    ("a\\*", ["a\\b"], ["a*"]),
    ("a*b*c/d*", ["abc/d", "a1b2bc/de"], ["ab/c/d", "abc/d/e"]),
]


@pytest.mark.parametrize(("glob", "matches", "others"), CASES, ids=[case[0] for case in CASES])
def test_a_glob_is_of_the_whole_key(glob: str, matches: list[str], others: list[str]) -> None:
    expression = compile_globs([glob])
    assert [key for key in matches if not expression.fullmatch(key)] == []
    assert [key for key in others if expression.fullmatch(key)] == []


def test_any_of_several_globs_matches() -> None:
    expression = compile_globs(["a*", "*/b"])
    assert expression.fullmatch("ax")
    assert expression.fullmatch("x/b")
    assert not expression.fullmatch("b")


@pytest.mark.parametrize("glob", ["[", "a[", "[]", "[!]", "[a", "[z-a]"])
def test_a_glob_that_means_nothing_is_refused(glob: str) -> None:
    with pytest.raises(InvalidRequest, match="glob"):
        compile_globs([glob])
