"""A PostgreSQL of one's own on a socket, gone when the block ends; what the other measurements of this folder use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server; it refuses to run as root, so commands are given as its own user there."""

    binaries: Path
    folder: Path

    def url(self, name: str) -> str:
        """The database called ``name``, made if need be."""
        made = self._run("createdb", "-h", str(self.folder), "-U", "test", name, check=False)
        assert made in (0, 1), "createdb failed"
        return f"postgresql+psycopg://test@/{name}?host={self.folder}"

    def start(self) -> None:
        """Start it and wait."""
        settings = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c max_connections=300"
        self._control("-l", str(self.folder / "log"), "-o", settings, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it as in a crash, or by another ``mode`` of ``pg_ctl``."""
        self._control("-m", mode, "stop")

    def create(self) -> None:
        """Make its folder of data."""
        self._run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", "test")

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", *arguments)

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        command: Sequence[str] = [*as_user, str(self.binaries / program), *arguments]
        quiet = subprocess.DEVNULL
        return subprocess.run(command, check=check, stdout=quiet, stderr=quiet, cwd="/", timeout=120).returncode


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A fresh server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        sys.exit("no PostgreSQL server (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="e2lm-pg-", dir="/tmp"))
    folder.chmod(0o777)
    server = Postgres(found[-1].parent, folder)
    server.create()
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
