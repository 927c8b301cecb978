from __future__ import annotations

import re

import pytest

from replicator.kernel import errors
from replicator.kernel.errors import ReplicatorError


def refinements(kind: type[ReplicatorError]) -> list[type[ReplicatorError]]:
    """The kinds below `kind`; what a module refines for itself does not leave it."""
    return [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]


def tree(kind: type[ReplicatorError], depth: int = 0) -> list[tuple[int, str]]:
    below = [line for child in refinements(kind) for line in tree(child, depth + 1)]
    return [(depth, kind.__name__), *below]


def every(kind: type[ReplicatorError] = ReplicatorError) -> list[type[ReplicatorError]]:
    return [kind, *(error for child in refinements(kind) for error in every(child))]


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    drawn = []
    for line in (ReplicatorError.__doc__ or "").splitlines():
        branch = re.match(r"        ([│├└─ ]*)(\w+)", line)
        if branch and hasattr(errors, branch[2]):
            drawn.append((len(branch[1]) // 4, branch[2]))
    assert drawn == tree(ReplicatorError)


def test_every_error_has_a_code_of_its_own_and_says_what_it_means() -> None:
    codes = [error.code for error in every()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert all("code" in vars(error) and vars(error)["__doc__"] for error in every())


@pytest.mark.parametrize("kind", every())
def test_an_error_carries_its_message_and_what_it_is_about(kind: type[ReplicatorError]) -> None:
    error = kind("the node is full", node="node1", self="any", message="key")
    assert str(error) == error.message == "the node is full"
    assert error.data == {"node": "node1", "self": "any", "message": "key"}
