from __future__ import annotations

from typing import Any

import pytest

from replicator.control_plane.domain import spec as specs
from replicator.control_plane.domain.spec import JobKind, JobSpec
from replicator.control_plane.services.requests import fingerprint_of, plan_fingerprint_of, spec_of
from replicator.kernel.errors import InvalidRequest
from replicator.wire.jobs import MigrateRequest, MirrorRequest, VerifyRequest

ENDS: dict[str, Any] = {"src_node": "node1", "dst_node": "node2"}


def migration(**fields: Any) -> JobSpec:
    return spec_of(MigrateRequest(**ENDS, **fields))


@pytest.mark.parametrize(
    ("fields", "words", "direct"),
    [
        ({"object_id": "a"}, "a", True),
        ({"object_id": "a", "bucket": "media"}, "a in bucket media", True),
        ({"object_ids": ["a", "b", "a"]}, "a, b", True),
        ({"object_ids": list("abcdef")}, "a, b, c and 3 more", True),
        ({"object_id": "a", "dry_run": True}, "a", False),
        ({"object_id": "a", "versions": "all"}, "a, all versions", False),
        ({"object_ids": ["a"], "filter": {"size_bytes_max": 1}}, "a, filtered", False),
        ({"prefix": "photos/", "bucket": "media"}, "photos/** in bucket media", False),
        ({"bucket": "media"}, "** in bucket media", False),
        ({"prefix": ""}, "**", False),
        ({"all": True}, "every object", False),
    ],
)
def test_what_a_migration_is_about(fields: dict[str, Any], words: str, direct: bool) -> None:
    spec = migration(**fields)
    assert (specs.in_words(spec), specs.is_direct(spec)) == (words, direct)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"object_id": "a", "prefix": "b"},
        {"object_ids": ["a"], "all": True},
        {"all": True, "bucket": "media"},
        {"object_id": "a", "object_ids": ["b"]},
    ],
)
def test_it_must_be_clear_which_objects_are_meant(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="exactly one of object_id"):
        migration(**fields)


def test_a_survey_asks_for_what_the_job_needs() -> None:
    mirror = spec_of(MirrorRequest(**ENDS, prefix="p/", delete=True, max_deletes=3, dry_run=True))
    survey = specs.survey_of(mirror, cursor="on")
    assert (survey.prefix, survey.extras, survey.dry_run, survey.roots, survey.cursor) == (
        "p/",
        True,
        True,
        False,
        "on",
    )
    verify = spec_of(VerifyRequest(**ENDS, all_versions=True, read_data=True))
    survey = specs.survey_of(verify, cursor=None)
    assert (survey.extras, survey.roots, survey.read_data, survey.all_versions) == (True,) * 4
    assert (verify.kind, specs.survey_of(migration(all=True), cursor=None).bucket) == (JobKind.VERIFY, None)


def test_a_request_is_known_again_over_releases() -> None:
    # What release 0.1.0 kept for it.
    known = "96807f677cf73adc01173c6fa229d4b664cb3cc6feaaf64d2344291a99ce7953"
    one = fingerprint_of(MigrateRequest(**ENDS, object_id="demo.bin"))
    assert one == known
    assert one == fingerprint_of(MigrateRequest(**ENDS, object_id="demo.bin", dry_run=False, mode="copy"))
    assert one != fingerprint_of(MigrateRequest(**ENDS, object_id="demo.bin", priority=1))
    assert fingerprint_of(MirrorRequest(**ENDS)) != fingerprint_of(VerifyRequest(**ENDS))


def test_a_dry_run_has_the_plan_of_its_run() -> None:
    run = MirrorRequest(**ENDS, prefix="p/")
    dry = MirrorRequest(**ENDS, prefix="p/", dry_run=True, priority=3, bytes_per_second=50_000)
    assert plan_fingerprint_of(run) == plan_fingerprint_of(dry)
    assert plan_fingerprint_of(run) != plan_fingerprint_of(MirrorRequest(**ENDS, prefix="q/"))
