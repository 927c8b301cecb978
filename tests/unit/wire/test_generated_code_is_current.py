"""What `make proto` generates is what is in the tree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
GENERATED = Path("replicator/wire/pb")


def make_proto() -> list[str]:
    """The arguments with which the Makefile calls the compiler."""
    (command,) = re.findall(r"-m grpc_tools\.protoc (.+)", (ROOT / "Makefile").read_text())
    return str(command).split()


def test_the_generated_code_is_that_of_the_proto_file(tmp_path: Path) -> None:
    arguments = [argument.replace("_out=src", f"_out={tmp_path}") for argument in make_proto()]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], cwd=ROOT, check=True)
    made = {path.name: path.read_text() for path in (tmp_path / GENERATED).iterdir()}
    assert len(made) == 3
    for name, text in made.items():
        assert (ROOT / "src" / GENERATED / name).read_text() == text, f"{name} is not current: run make proto"
