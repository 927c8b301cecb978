"""What a node is told about where bytes may come from."""

from __future__ import annotations

import pytest

from replicator.control_plane.ports import Unit
from replicator.kernel.names import NodeName
from replicator.testing.control_plane import ControlPlaneUnderTest
from replicator.wire.sessions import SOURCES_MAX

pytestmark = pytest.mark.anyio

MANIFEST = "c" * 64


async def test_a_source_is_named_with_its_grpc_service(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    source = await plane.connect("node1")
    node = await plane.connect("node2")
    await plane.migrate()
    assert (await node.claim()).source.rpc_url is None
    await source.open(rpc_url="http://node1:9101/")
    task = await node.claim()
    assert task.source.rpc_url == "http://node1:9101"
    assert (await plane.node("node1")).rpc_url == "http://node1:9101"
    await source.open()
    assert (await plane.node("node1")).rpc_url is None


async def test_other_sources_are_connected_and_likely_ones_come_first(plane: ControlPlaneUnderTest) -> None:
    names = [f"node{number:02}" for number in range(1, 14)]
    await plane.register(*names, "absent")
    for name in names:
        await plane.connect(name)
    holder = await plane.connect("node13")
    await plane.migrate("demo.bin", "node01", "node13")
    done = await holder.claim()
    objects = [{"row": 1, "outcome": "verified", "manifest": MANIFEST}]
    await holder.poll(results=[holder.result(done, objects=objects)])
    node = await plane.connect("node02")
    await plane.submit("migrate", dst_node="node02", src_node="node01", prefix="")
    survey = await node.claim()
    found = {
        "finding": "absent",
        "bucket": "default",
        "object_id": "demo.bin",
        "version": "0" * 32,
        "manifest": MANIFEST,
        "size": 9,
    }
    await node.poll(capacity=0, results=[node.result(survey, survey={"found": [found]})])
    await plane.settle()
    others = [other.node for other in (await node.claim()).others]
    assert len(others) == SOURCES_MAX
    assert others[0] == "node13"
    assert others[1:] == names[2:9]

    def holders(unit: Unit) -> list[NodeName]:
        return list(unit.objects.holders([MANIFEST, "d" * 64], limit=4))

    assert await plane.parts.database.read(holders) == ["node13"]
