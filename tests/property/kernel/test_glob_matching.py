"""Globs match what a plain matcher that tries everything matches, and hostile ones end."""

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.kernel.globs import compile_globs

CHARACTERS = "ab/"


@cache
def matches(glob: str, key: str, *, begins: bool = True) -> bool:
    """By trying every way. `begins`: whether a segment of the glob begins here."""
    if not glob:
        return not key
    if glob.startswith("**"):
        rest = glob.lstrip("*")
        ways = [key[at:] for at in range(len(key) + 1)]
        if begins and rest.startswith("/") and matches(rest[1:], key):
            return True
        return any(matches(rest, way, begins=False) for way in ways)
    head, rest, begins = glob[0], glob[1:], glob[0] == "/"
    if head == "*":
        reach = key.find("/") if "/" in key else len(key)
        return any(matches(rest, key[at:], begins=False) for at in range(reach + 1))
    if not key:
        return False
    fits = key[0] != "/" if head == "?" else key[0] == head
    return fits and matches(rest, key[1:], begins=begins)


@settings(max_examples=500)
@given(
    glob=st.lists(st.sampled_from(["*", "**", "?", "/", "**/", "/**/", *CHARACTERS]), min_size=1, max_size=8),
    key=st.text(CHARACTERS, max_size=9),
)
def test_globs_match_what_the_definition_says(glob: list[str], key: str) -> None:
    text = "".join(glob)
    assert bool(compile_globs([text]).fullmatch(key)) == matches(text, key)


def test_a_hostile_glob_ends() -> None:
    # Each would take longer than the age of the universe, were all ways tried.
    keys = ["a" * 1024, "a/" * 512, "ac" * 512]
    for glob in [
        "*a" * 500 + "b",
        "**a" * 300 + "b",
        "**/a" * 250 + "b",
        "**a*a" * 200 + "?b",
        "**" + "*a/" * 300 + "b",
    ]:
        assert [key for key in keys if compile_globs([glob]).fullmatch(key)] == []
