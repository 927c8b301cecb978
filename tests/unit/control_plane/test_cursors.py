from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.control_plane.services import cursors
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import NodeName


@given(st.integers(1, 2**63 - 1))
def test_cursors_of_jobs_come_back(job_id: int) -> None:
    assert cursors.before_job(cursors.of_job(job_id)) == job_id


@pytest.mark.parametrize("name", ["a", "node-1.example_x", "n" * 63])
def test_cursors_of_nodes_come_back(name: str) -> None:
    assert cursors.after_name(cursors.of_name(NodeName(name))) == name


@given(st.text(max_size=40))
def test_any_other_text_is_refused_or_is_a_place(text: str) -> None:
    for place in (cursors.before_job, cursors.after_name):
        try:
            place(text)
        except InvalidRequest:
            continue


def test_a_cursor_belongs_to_its_list() -> None:
    with pytest.raises(InvalidRequest):
        cursors.before_job(cursors.of_name(NodeName("1")))
    with pytest.raises(InvalidRequest):
        cursors.after_name(cursors.of_job(1))
