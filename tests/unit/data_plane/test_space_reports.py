"""When a node tells the control plane of the room on its disk, and what it says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from replicator.data_plane.settings import NodeSettings
from replicator.data_plane.space_reports import PERIOD_S, SpaceReports
from replicator.kernel.errors import StoreFailed
from replicator.runtime.settings_command import settings_command
from replicator.testing.clock import FrozenClock
from replicator.wire.sessions import DiskSpace


class Disk:
    """Of 10,000 bytes."""

    def __init__(self) -> None:
        self.bytes_free = 5000
        self.broken = False

    def look(self) -> DiskSpace:
        """What a node sees."""
        if self.broken:
            raise StoreFailed("a look at the free space failed")
        return DiskSpace(bytes_total=10_000, bytes_free=self.bytes_free)


def free(space: DiskSpace | None) -> int | None:
    return None if space is None else space.bytes_free


def test_much_is_told_at_once_and_little_now_and_then() -> None:
    disk, clock = Disk(), FrozenClock()
    reports = SpaceReports(disk.look, clock)
    assert free(reports.news()) == 5000
    reports.heard(reports.news())
    assert reports.news() is None
    disk.bytes_free = 4900
    assert reports.news() is None, "one per cent is little"
    clock.now_ms += round(PERIOD_S * 1000)
    assert free(reports.news()) == 4900
    reports.heard(reports.news())
    disk.bytes_free = 4799
    assert free(reports.news()) == 4799


def test_what_did_not_arrive_is_told_again() -> None:
    reports = SpaceReports(Disk().look, FrozenClock())
    assert reports.news() is not None
    reports.heard(None)
    assert reports.news() is not None


def test_a_disk_that_does_not_change_is_told_of_once() -> None:
    clock = FrozenClock()
    reports = SpaceReports(Disk().look, clock)
    reports.heard(reports.current())
    clock.now_ms += round(10 * PERIOD_S * 1000)
    assert reports.news() is None


def test_a_disk_that_does_not_say_is_not_told_of() -> None:
    disk = Disk()
    disk.broken = True
    reports = SpaceReports(disk.look, FrozenClock())
    assert (reports.current(), reports.news()) == (None, None)


def settings(labels: str | None) -> NodeSettings:
    return NodeSettings(name="node1", data_dir=Path("data"), labels=labels)


def test_labels_are_pairs() -> None:
    assert settings(None).own_labels == {}
    assert settings("disk=ssd,rack=r7").own_labels == {"disk": "ssd", "rack": "r7"}


@pytest.mark.parametrize("labels", ["disk", "disk=", "=ssd", "a b=c", ",".join(f"k{n}=x" for n in range(33))])
def test_what_is_no_label_is_refused_at_the_start(labels: str) -> None:
    with pytest.raises(ValidationError):
        settings(labels)


@pytest.mark.parametrize(
    ("flags", "variable", "labels"),
    [
        (["--label", "disk=ssd", "--label", "rack=r7"], None, {"disk": "ssd", "rack": "r7"}),
        (["--label", "disk=ssd,rack=r7"], "rack=r1", {"disk": "ssd", "rack": "r7"}),
        ([], "disk=hdd,rack=r1", {"disk": "hdd", "rack": "r1"}),
        ([], None, {}),
    ],
)
def test_a_node_is_started_with_labels(
    flags: list[str], variable: str | None, labels: dict[str, str]
) -> None:
    started: list[NodeSettings] = []
    app = settings_command(NodeSettings, started.append, name="node", summary="A node.", examples="none")
    given = ["--name", "node1", "--data-dir", "d", "--zone", "eu-1", *flags]
    answer = CliRunner().invoke(app, given, env={"REPLICATOR_NODE_LABELS": variable})
    assert answer.exit_code == 0, answer.output
    assert [(each.own_labels, each.zone) for each in started] == [(labels, "eu-1")]
