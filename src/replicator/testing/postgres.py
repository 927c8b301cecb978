"""A Postgres server of the test's own, to be killed, stopped and started again.

It lives in a folder of its own, listens on a free port of the loopback, and ends with the test process even if
that is killed: a watcher waits for the end of a pipe that only the test process holds, then ends the server and
removes the folder.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from replicator.testing.waiting import wait_until

USER = "replicator"
PASSWORD = "correct-horse"
GUARDED = "guarded"
"""A role that has to give `PASSWORD`; everybody else is let in."""

_BINARIES = Path("/usr/lib/postgresql")
_MEMORY = Path("/dev/shm")
_ANSWER_S = 60.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
}
# The server still writes before it answers, so a kill of its processes loses nothing that was committed.
_UNSAFE = {"fsync": "off", "full_page_writes": "off"}
_HBA = f"""
host all {GUARDED} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
# $0 is the folder of the server. The processes of a stopped server must go on to be ended.
_WATCH = """
cat > /dev/null
pid=$(head -n 1 "$0/data/postmaster.pid" 2> /dev/null)
if [ -n "$pid" ] && kill -QUIT "$pid" 2> /dev/null; then
  pkill -CONT -P "$pid"
  kill -CONT "$pid"
  n=0
  while grep -q '^State:.[^Z]' "/proc/$pid/status" 2> /dev/null && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
  kill -KILL "$pid" 2> /dev/null
fi
rm -rf "$0"
"""


def missing_for_postgres() -> str | None:
    """What keeps a server from being started here, or None."""
    folder = _folder_of_binaries()
    if folder is None:
        return f"no Postgres server in {_BINARIES} (apt-get install postgresql)"
    return None


class PostgresServer:
    """A running server. Start it on the main thread, or on one that lives as long.

    Without `safe` it syncs nothing and lives in memory where there is such a folder: fast, and what a kill of
    its processes leaves is still whole.
    """

    def __init__(self, *, safe: bool = False) -> None:
        missing = missing_for_postgres()
        if missing is not None:
            raise RuntimeError(missing)
        where = None if safe or not _MEMORY.is_dir() else _MEMORY
        self.folder = Path(tempfile.mkdtemp(prefix="replicator-pg-", dir=where))
        self._settings = _SETTINGS if safe else _SETTINGS | _UNSAFE
        self._copies_files = not safe and _release() >= 15
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count(1)
        self._watcher, self._held = _watch(self.folder)
        try:
            _own(self.folder)
            _copy_of_empty(self.folder / "data")
            self.port = _free_port()
            self.start()
            self.sql(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'")
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it, where it was killed or stopped, and wait until it answers."""
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_binary("postgres"), "-D", str(self.folder / "data"), f"-p{self.port}", *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **_as_owner(),
            )
        wait_until(self._answers, "the Postgres server answers", timeout_s=_ANSWER_S)

    def url(self, database: str, *, user: str = USER, password: str = PASSWORD) -> str:
        """How the control plane is told of a database."""
        url = sa.URL.create("postgresql", user, password, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    def new_database(self, template: str = "template1") -> str:
        """Make a database like `template`, which nobody may use meanwhile; its name."""
        name = f"test_{next(self._names)}"
        strategy = " STRATEGY FILE_COPY" if self._copies_files else ""  # half as long where nothing is synced
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove it, whoever uses it."""
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def sql(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement by itself; its rows, if it has any."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=10) as connection:
            done = connection.execute(statement.encode())
            return [] if done.description is None else done.fetchall()

    def terminate_backends(self, database: str, *, application: str = "%") -> int:
        """End the connections to `database` of programs that are named so, as an operator may; how many there were."""
        ended = self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND application_name LIKE '{application}' AND pid <> pg_backend_pid()"
        )
        return len(ended)

    def kill(self) -> None:
        """Kill its first process, as a crash does, and wait until all are gone."""
        children = self._children()
        self._signal(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._wait()
        wait_until(lambda: not any(_lives(child) for child in children), "the server's processes are gone")

    def restart(self, mode: str = "immediate") -> None:
        """Stop it, `immediate`ly (recovery follows) or `fast` (connections are ended), and start it again."""
        self.stop(mode)
        self.start()

    def stop(self, mode: str = "fast") -> None:
        """Stop it and wait for its end."""
        self._signal({"immediate": signal.SIGQUIT, "fast": signal.SIGINT}[mode])
        self._wait()

    def pause(self) -> None:
        """Stop all of its processes where they are: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        # A signal is only on its way when it was sent: who still runs may answer, or fork another.
        parent = self._process.pid
        wait_until(lambda: not _runs(parent), "the server stands still")
        children = self._children()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
        wait_until(lambda: not any(map(_runs, children)), "all of its processes stand still")

    def resume(self) -> None:
        """Let them go on."""
        for child in self._children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove everything."""
        if not self._held.closed:
            _let_go(self._watcher, self._held)
            if self._process is not None:
                self._process.wait(_ANSWER_S)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            text = (self.folder / "log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the Postgres server ended with {self._process.returncode}: {text}")
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=10).close()
        except psycopg.OperationalError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the server does not run")
        self._process.send_signal(number)

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(_ANSWER_S)
            self._process = None

    def _children(self) -> list[int]:
        if self._process is None:
            return []
        parent = self._process.pid
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        return [int(child) for child in text.split()]


def _watch(folder: Path) -> tuple[subprocess.Popen[bytes], Any]:
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return watcher, watcher.stdin


def _let_go(watcher: subprocess.Popen[bytes], held: Any) -> None:
    held.close()
    watcher.wait(_ANSWER_S)


@cache
def _empty_cluster() -> Path:
    """Made once by each process of the tests, and copied: that is several times faster."""
    folder = Path(tempfile.mkdtemp(prefix="replicator-pg-empty-", dir=_MEMORY if _MEMORY.is_dir() else None))
    atexit.register(_let_go, *_watch(folder))
    _own(folder)
    subprocess.run(
        [
            _binary("initdb"),
            *("-D", str(folder / "data"), "-U", USER, "-E", "UTF8", "--locale=C.UTF-8"),
            *("--auth=trust", "--no-sync", "--no-instructions"),
        ],
        check=True,
        capture_output=True,
        **_as_owner(),
    )
    (folder / "data" / "pg_hba.conf").write_text(_HBA)
    return folder / "data"


def _copy_of_empty(folder: Path) -> None:
    shutil.copytree(_empty_cluster(), folder, symlinks=True)
    folder.chmod(0o700)
    for parent, folders, files in os.walk(folder):
        for each in (".", *folders, *files):
            _own(Path(parent, each))


def _own(path: Path) -> None:
    owner = _owner()
    if owner is not None:
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _as_owner() -> dict[str, Any]:
    owner = _owner()
    if owner is None:
        return {}
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": [], "cwd": "/"}


@cache
def _owner() -> pwd.struct_passwd | None:
    """Whom to be instead of root, as whom the server refuses to run."""
    if os.geteuid() != 0:
        return None
    return pwd.getpwnam("nobody")


@cache
def _folder_of_binaries() -> Path | None:
    found = [each.parent for each in _BINARIES.glob("*/bin/postgres") if (each.parent / "initdb").exists()]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


def _release() -> int:
    folder = _folder_of_binaries()
    return 0 if folder is None else int(folder.parent.name)


def _binary(name: str) -> str:
    folder = _folder_of_binaries()
    assert folder is not None
    return str(folder / name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _lives(pid: int) -> bool:
    return _state(pid) != "Z"


def _runs(pid: int) -> bool:
    return _state(pid) not in "ZT"


def _state(pid: int) -> str:
    """As the kernel has it: Z of one that has ended or is not there, T of one that was stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
