"""Two successive releases of a large package, each as one tar: what an update of real software looks like.

With a network they are pandas 2.2.0 and 2.2.1, as published. Without one the older is made of packages that
are installed here, and the newer of the same files with edits: a line in every fourth source file, one file in
fifty gone, one in fifty more. A report says which of the two it was.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from replicator.kernel.errors import Corrupt

_WHEELS = {
    "pandas==2.2.0": "85793cbdc2d5bc32620dc8ffa715423f0c680dacacf55056ba13454a5be5de88",
    "pandas==2.2.1": "101d0eb9c5361aa0146f500773395a03839a5e6ecde4d4b6ced88b7e5a1a6403",
}
_DOWNLOAD_SECONDS = 60.0
_INSTALLED = ("hypothesis", "pygments", "sqlalchemy", "uvloop", "zstandard")
_EDITED_EVERY, _MOVED_EVERY = 4, 50

Files = Iterable[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Releases:
    """Two tars, and what they are made of."""

    older: Path
    newer: Path
    made_of: str


def make_releases(folder: Path) -> Releases:
    """The two tars, in `folder`; raises `Corrupt` where what was downloaded is not what was published."""
    older, newer = folder / "older.tar", folder / "newer.tar"
    try:
        wheels = [_download(each, folder) for each in _WHEELS]
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        installed = list(_installed())
        _write_tar(older, installed)
        _write_tar(newer, _edited(installed))
        return Releases(
            older, newer, "installed packages and the same with edits: nothing could be downloaded"
        )
    for path, wheel in zip((older, newer), wheels, strict=True):
        _write_tar(path, _unpacked(wheel))
        wheel.unlink()
    return Releases(older, newer, " and ".join(_WHEELS))


def _download(requirement: str, folder: Path) -> Path:
    target = folder / requirement
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64"]
    command += ["--retries=0", "--timeout=10", f"--dest={target}", requirement]
    subprocess.run(command, capture_output=True, timeout=_DOWNLOAD_SECONDS, check=True)
    (wheel,) = target.iterdir()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != _WHEELS[requirement]:
        raise Corrupt(f"{wheel.name} has the SHA-256 {digest}", wanted=_WHEELS[requirement])
    return wheel


def _unpacked(wheel: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            yield name, archive.read(name)


def _installed() -> Iterator[tuple[str, bytes]]:
    packages = Path(sysconfig.get_path("purelib"))
    for package in _INSTALLED:
        for file in sorted((packages / package).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield str(file.relative_to(packages)), file.read_bytes()


def _edited(files: Files) -> Iterator[tuple[str, bytes]]:
    for number, (name, content) in enumerate(files):
        if number % _MOVED_EVERY == _MOVED_EVERY // 2:
            continue
        if number % _MOVED_EVERY == 0:
            yield f"{name}.new", content[::-1][: 8 * 1024]
        if name.endswith(".py") and number % _EDITED_EVERY == 0:
            middle = content.find(b"\n", len(content) // 2) + 1
            yield name, b"%s# changed in this release\n%s" % (content[:middle], content[middle:])
        else:
            yield name, content


def _write_tar(path: Path, files: Files) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
