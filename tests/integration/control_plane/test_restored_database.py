"""A control plane goes on with an older copy of its database: numbers of tasks are given out a second time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing

import pytest

from replicator.control_plane.offline import renew_identity
from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, control_plane_in
from replicator.wire.sessions import TaskAssignment

pytestmark = pytest.mark.anyio

Restored = Callable[[], AbstractAsyncContextManager[ControlPlaneUnderTest]]


def back_up(source: str, target: str) -> None:
    os.makedirs(target)
    path, copy = (os.path.join(folder, "control-plane.sqlite") for folder in (source, target))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        reader.execute("VACUUM INTO ?", (copy,))


async def lost_afterwards(data_dir: str) -> tuple[str, FakeNode, TaskAssignment]:
    """A folder with a copy, and a node with a task that was given out after that was made."""
    copy = os.path.join(data_dir, "copy")
    async with control_plane_in(data_dir) as plane:
        await plane.register("node1", "node2")
        node = await plane.connect("node2")
        back_up(data_dir, copy)
        await plane.migrate("given-out-after-the-copy")
        return copy, node, await node.claim()


async def test_what_nodes_hold_of_the_lost_time_counts_for_nothing(data_dir: str) -> None:
    copy, node, lost = await lost_afterwards(data_dir)
    async with control_plane_in(copy) as plane:
        before, after = await plane.parts.database.transact(renew_identity)
        assert before == lost.control_plane != after
        survivor = FakeNode(plane.http, "node2")
        survivor.session_id = node.session_id
        assert (await survivor.poll_raw(running=[node.progress(lost)])).status_code == 410
        job = await plane.migrate("submitted-after-the-restore")
        opened = await survivor.open(node.result(lost))
        assert opened.control_plane == after
        assert opened.acknowledged == [lost.ref], "the node need not keep it"
        new = await survivor.claim()
        assert (new.task_id, new.epoch) == (lost.task_id, lost.epoch), "the number was given out again"
        await survivor.poll(running=[survivor.progress(new)], results=[node.result(lost)])
        assert (await plane.job(job)).status == "running"
        assert "replicator_results_refused_total 2.0" in (await plane.http.get("/metrics")).text
        await survivor.poll(results=[survivor.result(new)])
        assert (await plane.job(job)).status == "succeeded"


async def test_what_was_in_hand_when_the_copy_was_made_is_done_again(data_dir: str) -> None:
    copy = os.path.join(data_dir, "copy")
    async with control_plane_in(data_dir) as plane:
        await plane.register("node1", "node2")
        node = await plane.connect("node2")
        await plane.migrate()
        task = await node.claim()
        back_up(data_dir, copy)
        await node.poll(results=[node.result(task)])
        assert (await plane.job()).status == "succeeded"
    async with control_plane_in(copy) as plane:
        await plane.parts.database.transact(renew_identity)
        assert (await plane.node("node2")).status == "disconnected"
        again = FakeNode(plane.http, "node2")
        await again.open()
        new = await again.claim()
        assert new.control_plane != task.control_plane
        await again.poll(results=[again.result(new, transfer={"objects_skipped": 1})])
        assert (await plane.job()).status == "succeeded"
