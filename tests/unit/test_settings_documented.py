"""Every setting is described in docs/settings.md, with its flag and its variable."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from replicator.control_plane.settings import Settings as ControlPlaneSettings
from replicator.data_plane.settings import NodeSettings
from replicator.runtime.settings_command import flag_of, values_of, variable_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.mark.parametrize(
    ("model", "field"),
    [(model, field) for model in (ControlPlaneSettings, NodeSettings) for field in model.model_fields],
)
def test_setting_is_documented(model: type[BaseSettings], field: str) -> None:
    info = model.model_fields[field]
    start = f"| `{flag_of(field, info)}` | `{variable_of(model, field)}` |"
    default = "" if info.default is None else "required" if info.is_required() else f"`{info.default}`"
    assert info.description
    assert all(value in info.description for value in values_of(info))
    assert f"{start} {default} | {info.description} |" in DOCUMENT.read_text().splitlines()
