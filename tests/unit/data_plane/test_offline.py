"""The commands on a closed store say what is wrong, what to do next, and tell the outcomes apart by their exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from replicator.data_plane.offline import app
from replicator.data_plane.storage.backup import Backups
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import commit, new_version


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    folder = StoreFolder(tmp_path / "node", open_catalog=rocks)
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def spoil_catalog(catalog: Path) -> None:
    for file in catalog.glob("MANIFEST-*"):
        file.write_bytes(b"rot")


def test_a_sound_store_needs_nothing(folder: StoreFolder) -> None:
    done = run("check", "--data-dir", folder.path)
    assert (done.exit_code, "next:" in done.stdout) == (0, False), done.output


def test_a_catalog_that_does_not_open_names_the_whole_command(folder: StoreFolder) -> None:
    spoil_catalog(folder.path / "catalog")
    done = run("check", "--data-dir", folder.path)
    assert done.exit_code == 1
    assert f"replicator store rebuild-catalog --data-dir {folder.path}\n" in done.stdout
    again = run("rebuild-catalog", "--data-dir", folder.path)
    assert (again.exit_code, "no former catalog could be read" in again.stdout) == (0, True), again.output
    assert run("check", "--data-dir", folder.path, "--read-data").exit_code == 0


def test_a_missing_segment_is_told_with_what_to_do(folder: StoreFolder) -> None:
    folder.segment(1).unlink()
    done = run("check", "--data-dir", folder.path, "--json")
    assert done.exit_code == 1
    assert "replicator store restore" in json.loads(done.stdout)["summary"]["next"][0]


def test_a_backup_whose_catalog_is_damaged_is_restored_as_far_as_it_goes(
    folder: StoreFolder, tmp_path: Path
) -> None:
    with folder.opened() as store:
        backup = Path(Backups(store.parts, tmp_path / "backups").make("today"))
    spoil_catalog(backup / "catalog")
    data_dir = tmp_path / "restored"
    done = run("restore", backup, data_dir)
    assert done.exit_code == 1, done.output
    assert f"{data_dir} holds a whole copy of the backup" in done.stdout
    assert f"replicator store rebuild-catalog --data-dir {data_dir}\n" in done.stdout
    assert run("rebuild-catalog", "--data-dir", data_dir).exit_code == 0
    assert run("check", "--data-dir", data_dir, "--read-data").exit_code == 0


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(folder: StoreFolder) -> None:
    (folder.path / "LOCK").unlink()
    (folder.path / "LOCK").mkdir()
    for command in ("check", "rebuild-catalog"):
        done = run(command, "--data-dir", folder.path)
        assert (done.exit_code, done.stdout) == (5, "")
        assert done.stderr.count("\n") == 1
        assert str(folder.path / "LOCK") in done.stderr
