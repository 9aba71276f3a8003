"""``e2lm merge`` reports what it did, and refuses with one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2lm.command_line import main

Models = Callable[..., list[str]]


@pytest.fixture
def config(models: Models, tmp_path: Path) -> Path:
    """A merge of two models, as a file."""
    base, *tunes = models(2)
    file = tmp_path / "m.yml"
    file.write_text(
        json.dumps({"merge_method": "ties", "base_model": base, "models": [{"model": one} for one in tunes]})
    )
    return file


def merged(config: Path, out: Path) -> tuple[int, str]:
    """Exit code and the one line on standard error of the real command."""
    own = [sys.executable, "-m", "e2lm", "merge", config, out, "--quiet"]
    done = subprocess.run(list(map(str, own)), capture_output=True, text=True, check=False, timeout=300)
    (line,) = done.stderr.splitlines()
    return done.returncode, line


@contextmanager
def disk(place: Path, options: str) -> Iterator[Path]:
    """A small disk of its own at ``place``; the test is skipped where none can be mounted."""
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=False, capture_output=True
    ).returncode:
        pytest.skip("only root may mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_one_line_of_the_real_command(config: Path, tmp_path: Path) -> None:
    (tmp_path / "afile").touch()
    code, line = merged(config, tmp_path / "afile" / "out")
    assert (code, line) == (2, f"e2lm: error: {tmp_path / 'afile'}: is a file; name a folder")
    code, line = merged(config, Path("/proc/nope/out"))
    assert code == 2
    assert line.startswith("e2lm: error: /proc/nope")
    with disk(tmp_path / "readable", "ro,size=9m") as place:
        code, line = merged(config, place / "out")
        assert code == 3
        assert line == f"e2lm: error: {place / 'out'}: Read-only file system; name a place that can be written"
    with disk(tmp_path / "small", "size=8k") as place:
        code, line = merged(config, place / "out")
        assert code == 3
        assert re.search(r"small: [\d,]+ bytes are needed and [\d,]+ are free; make room$", line)
        assert list(place.iterdir()) == []


@pytest.mark.slow
def test_a_disk_that_fills_up_on_the_way_names_the_place(config: Path, tmp_path: Path, models: Models) -> None:
    size = sum(file.stat().st_size for file in Path(models(2)[0]).glob("*.safetensors"))
    with disk(
        tmp_path / "small", f"size={size // 4096 * 4 + 8}k"
    ) as place:  # the weights fit, and next to nothing else
        code, line = merged(config, place / "out")
    assert code == 3
    assert line.startswith(f"e2lm: error: {place}")
    assert "No space left on device; make room" in line or "bytes are needed" in line


def test_the_command_merges_reports_and_refuses_with_one_line(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "m.yml"
    base, *tunes = models(2)
    config.write_text(
        json.dumps({"merge_method": "dare_ties", "base_model": base, "models": [{"model": one} for one in tunes]})
    )
    out = str(tmp_path / "out")
    assert main(["merge", str(config), out, "--dry-run", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["dry_run"]
    assert not Path(out).exists()
    assert main(["merge", str(config), out, "--threads", "1"]) == 0
    assert "merged" in capsys.readouterr().out
    assert main(["merge", str(config), out]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["merge", str(config), str(tmp_path / "b"), "--shard-size", "0"]) == 2
    assert main(["merge", str(tmp_path / "none.yml"), str(tmp_path / "b")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["merge", "strategies", "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert {"linear", "wsm", "hi_merging", "tsv_m"} <= names
    assert main(["merge", "strategies"]) == 0
    assert "θ₀" in capsys.readouterr().out
