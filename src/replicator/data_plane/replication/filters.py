"""Which versions a job is about."""

from __future__ import annotations

from collections.abc import Callable

from replicator.data_plane.replication.ports import Entry
from replicator.kernel.globs import compile_globs
from replicator.wire.sessions import Filter

Passes = Callable[[Entry], bool]
"""Whether a version is meant."""


def compile_filter(wanted: Filter, *, now_ms: int) -> Passes:
    """What `wanted` says, with ages as they are at `now_ms` (milliseconds since the Unix epoch).

    Raises:
        InvalidRequest: a glob is none.
    """
    tests = [*_of_key(wanted), *_of_size(wanted), *_of_age(wanted, now_ms)]
    if not tests:
        return lambda _: True
    return lambda entry: all(test(entry) for test in tests)


def _of_key(wanted: Filter) -> list[Passes]:
    tests: list[Passes] = []
    if wanted.include:
        included = compile_globs(wanted.include).fullmatch
        tests.append(lambda entry: included(entry.object_id) is not None)
    if wanted.exclude:
        excluded = compile_globs(wanted.exclude).fullmatch
        tests.append(lambda entry: excluded(entry.object_id) is None)
    return tests


def _of_size(wanted: Filter) -> list[Passes]:
    tests: list[Passes] = []
    if (least := wanted.size_bytes_min) is not None:
        tests.append(lambda entry: entry.size >= least)
    if (most := wanted.size_bytes_max) is not None:
        tests.append(lambda entry: entry.size <= most)
    return tests


def _of_age(wanted: Filter, now_ms: int) -> list[Passes]:
    tests: list[Passes] = []
    if (least_s := wanted.age_seconds_min) is not None:
        made_until_ms = now_ms - 1000 * least_s
        tests.append(lambda entry: entry.version.wall_ms <= made_until_ms)
    if (most_s := wanted.age_seconds_max) is not None:
        made_since_ms = now_ms - 1000 * most_s
        tests.append(lambda entry: entry.version.wall_ms >= made_since_ms)
    return tests
