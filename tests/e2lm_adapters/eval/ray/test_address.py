"""An address of nobody, of a stranger, or of a cluster that wants a token: one line within seconds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from e2lm import UserError
from e2lm.command_line import main
from e2lm.errors import MachineError
from e2lm_adapters.eval.ray import address as address_module
from e2lm_adapters.eval.ray.address import ANSWER_S, check_address

#: A Ray that knows no tokens: nothing of the real one is needed to see that nobody is there.
OLD_RAY = SimpleNamespace(exceptions=SimpleNamespace())


@pytest.fixture
def serve() -> Iterator[Callable[[bytes | None], str]]:
    """Starts a server that says these bytes to whoever connects, or nothing at all; gives its address."""
    opened: list[socket.socket] = []

    def start(says: bytes | None) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        opened.append(server)

        def answer() -> None:
            connection, _ = server.accept()
            opened.append(connection)
            if says is not None:
                connection.sendall(says)

        threading.Thread(target=answer, daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield start
    for one in opened:
        one.close()


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_of_nobody_is_told_at_once(scheme: str) -> None:
    started = time.monotonic()
    with pytest.raises(MachineError, match=r"no Ray cluster there .*Connection refused"):
        check_address(OLD_RAY, scheme + free_address())
    assert time.monotonic() - started < ANSWER_S


def test_a_name_that_is_no_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(MachineError, match="Name or service not known"):
        check_address(OLD_RAY, "nowhere.example:6379")


def test_a_server_that_says_nothing_is_left_after_seconds(
    serve: Callable[[bytes | None], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address_module, "ANSWER_S", 0.5)
    with pytest.raises(MachineError, match=r"no answer within 0\.5 s"):
        check_address(OLD_RAY, serve(None))


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00"])
def test_a_server_of_another_kind_is_told(
    serve: Callable[[bytes | None], str], says: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address_module, "ANSWER_S", 0.5)
    with pytest.raises(MachineError, match="no Ray cluster there"):
        check_address(OLD_RAY, serve(says))


def test_what_greets_as_rays_servers_do_is_let_pass(serve: Callable[[bytes | None], str]) -> None:
    check_address(OLD_RAY, serve(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))))


@pytest.mark.parametrize("text", ["head", "head:", "head:0", "head:66000", "head:port", ":6379", "ray://head", ""])
def test_what_is_no_address_is_told_with_the_form_of_one(text: str) -> None:
    with pytest.raises(UserError, match="expected HOST:PORT") as told:
        check_address(OLD_RAY, text)
    assert not isinstance(told.value, MachineError)


@pytest.mark.parametrize("text", ["auto", "anyscale://cluster"])
def test_what_ray_or_another_package_resolves_is_left_to_it(text: str) -> None:
    check_address(OLD_RAY, text)


def test_the_command_says_so_before_it_loads_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_series: Path
) -> None:
    started = time.monotonic()
    own = ["eval", str(tiny_series), "--tasks", "none", "--out", str(tmp_path / "out"), "--executor", "ray"]
    assert main([*own, "--address", free_address()]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("e2lm: error: --address 127.0.0.1:")
    assert time.monotonic() - started < 30
    assert not (tmp_path / "out").exists()
