from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from replicator.control_plane.settings import Settings


def test_settings_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATOR_CONTROL_PLANE_PORT", "8123")
    settings = Settings(host="127.0.0.9")
    assert (settings.port, settings.host) == (8123, "127.0.0.9")
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0"}, "http://localhost:8000"),
        ({"host": "::"}, "http://localhost:8000"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"advertise_url": "https://replicator.example/"}, "https://replicator.example"),
    ],
)
def test_nodes_are_told_a_url_they_can_use(given: dict[str, Any], url: str) -> None:
    assert Settings(**given).url_for_nodes(8000) == url


def test_the_database_is_in_the_data_folder_unless_said_otherwise() -> None:
    assert Settings(data_dir="/data").url_of_database == "sqlite:////data/control-plane.sqlite"
    assert Settings(database_url="sqlite:////x.db").url_of_database == "sqlite:////x.db"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"port": 70_000}, "port"),
        ({"history_keep_seconds": 5}, "history_keep_seconds must not be less than history_after_seconds"),
        ({"history_after_seconds": -1}, "history_after_seconds"),
        ({"poll_seconds": 15}, "poll_seconds must be less than session_lease_seconds"),
        ({"log_level": "loud"}, "log_level"),
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings(**wrong)
