"""Bundles made to hurt are answered at once, in little memory, and leave nothing behind."""

from __future__ import annotations

import io
import json
import os
import resource
import stat
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.check import check_archive
from e2lm_leaderboard.cli.entrant import SUBMISSION_YAML, TASK_YAML, sample_files
from e2lm_leaderboard.season.season import SeasonRules

MAX_S = 2.0
MAX_RSS_BYTES = 256 << 20

FILES = {name: text.encode() for name, text in sample_files().items()}


def zipped(extra: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, **attributes: int) -> bytes:
    """The sample and ``extra`` as an archive; ``attributes`` are Unix modes by name of member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in {**FILES, **extra}.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.external_attr = attributes.get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return out.getvalue()


def bomb(claimed: int) -> bytes:
    """A member of a hundred MiB of zeros that claims ``claimed`` bytes."""
    data = bytearray(zipped({"zeros.txt": b"\0" * (100 << 20)}))
    real = struct.pack("<I", 100 << 20)
    return bytes(data.replace(real, struct.pack("<I", claimed)))


def with_prefix() -> bytes:
    return b"#!/bin/sh\necho hello\n" + zipped({})


def with_comment() -> bytes:
    out = io.BytesIO(zipped({}))
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"PK\x05\x06 and more"
    return out.getvalue()


def two_directories() -> bytes:
    """Two archives one after the other: which is read depends on the reader."""
    return zipped({"first.txt": b"1"}) + zipped({"second.txt": b"2"})


def lying_header() -> bytes:
    data = zipped({"aaaa.txt": b"1"})
    return data.replace(b"aaaa.txt", b"bbbb.txt", 1)


def ten_gigabytes() -> bytes:
    data = zipped({"big.txt": b"x" * 77_777}, zipfile.ZIP_STORED)
    return data.replace(struct.pack("<I", 77_777), struct.pack("<I", 0xFFFFFFF0))


def repeated_name() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("submission.yaml", SUBMISSION_YAML)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("submission.yaml", SUBMISSION_YAML)
    return out.getvalue()


def task_with(field: str, template: str) -> bytes:
    kept = "".join(line for line in TASK_YAML.splitlines(keepends=True) if not line.startswith(f"{field}:"))
    return zipped({"counting.yaml": (kept + f"{field}: {json.dumps(template)}\n").encode()})


def many_rows(row: bytes, count: int) -> bytes:
    return zipped({"counting.jsonl": row * count}, zipfile.ZIP_STORED)


def overlapping() -> bytes:
    """Two directory entries for one stretch of data (Fifield 2019, a better zip bomb)."""
    body = zlib.compress(b"\0" * 1_000_000, 9)[2:-4]
    name = b"a.txt"
    crc = zlib.crc32(b"\0" * 1_000_000)
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 33, crc, len(body), 1_000_000, len(name), 0)
    data = local + name + body
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 33, crc, len(body), 1_000_000, len(name), 0, 0, 0, 0, 0, 0
    )
    directory = (entry + name) * 2
    return data + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(data), 0)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "traversal": lambda: zipped({"../../outside.txt": b"x"}),
    "absolute path": lambda: zipped({"/tmp/outside.txt": b"x"}),
    "backslash": lambda: zipped({"..\\outside.txt": b"x"}),
    "null in name": lambda: zipped({"aaaa.txt": b"x"}).replace(b"aaaa.txt", b"a\0aa.txt"),
    "control character": lambda: zipped({"a\x1b[2J.txt": b"x"}),
    "link": lambda: zipped({"link.txt": b"/etc/passwd"}, **{"link.txt": stat.S_IFLNK | 0o777}),
    "device": lambda: zipped({"device.txt": b""}, **{"device.txt": stat.S_IFCHR | 0o666}),
    "case twins": lambda: zipped({"Counting.YAML".lower().title(): b"x", "COUNTING.jsonl": b"x"}),
    "unicode twins": lambda: zipped({"ﬁle.txt": b"1", "file.txt": b"2"}),
    "file that is a folder": lambda: zipped({"data.txt": b"1", "data.txt/a.txt": b"2"}),
    "repeated name": repeated_name,
    "bomb": lambda: zipped({"zeros.txt": b"\0" * (100 << 20)}),
    "bomb that claims little": lambda: bomb(10),
    "ten gigabytes claimed": ten_gigabytes,
    "polyglot with a prefix": with_prefix,
    "polyglot with a comment": with_comment,
    "two archives": two_directories,
    "lying header": lying_header,
    "encrypted": lambda: zipped({}).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"
    ),
    "cut short": lambda: zipped({})[:-40],
    "no archive": lambda: b"\x7fELF" + os.urandom(1000),
    "empty": lambda: b"",
    "deep yaml": lambda: zipped({"submission.yaml": b"[" * 60_000}),
    "deep yaml by indent": lambda: zipped({"submission.yaml": b"".join(b" " * k + b"a:\n" for k in range(300))}),
    "billion laughs": lambda: zipped(
        {"submission.yaml": b"a: &a [x]\n" + b"".join(b"b%d: &b%d [*a,*a]\n" % (k, k) for k in range(99))}
    ),
    "long yaml": lambda: zipped({"submission.yaml": b"- 1\n" * 16_000}),
    "huge number in yaml": lambda: zipped({"submission.yaml": b"schema_version: " + b"9" * 60_000}),
    "deep json": lambda: zipped({"counting.jsonl": b'{"a":' * 10_000}),
    "wide json": lambda: many_rows(b'{"a":[' + b"[]," * 20_000 + b"[]]}\n", 500),
    "huge number in json": lambda: zipped({"counting.jsonl": b'{"gold": ' + b"9" * 60_000 + b"}\n"}),
    "one long row": lambda: zipped({"counting.jsonl": b'{"a": "' + b"x" * 1_000_000 + b'"}\n'}),
    "nan": lambda: zipped({"counting.jsonl": b'{"gold": NaN}\n' * 200}),
    "shell in a template": lambda: task_with(
        "doc_to_text", "{{ cycler.__init__.__globals__.os.popen('touch /tmp/e2lm-hostile').read() }}"
    ),
    "shell by subscript": lambda: task_with("doc_to_text", "{{ ''['__cl' ~ 'ass__'].mro()[1]['__subclasses__']() }}"),
    "power in a template": lambda: task_with("doc_to_text", "{{ 9 ** 9999999 }}"),
    "long text in a template": lambda: task_with("doc_to_text", "{{ 'x' * 200000000 }}"),
    "loop in a template": lambda: task_with("doc_to_text", "{% for a in range(999999999) %}x{% endfor %}"),
    "nested loops": lambda: task_with(
        "doc_to_text", "{% for a in choices %}{% for b in choices %}{% endfor %}{% endfor %}"
    ),
    "growing text": lambda: task_with("doc_to_text", "{{ story.replace('', story).replace('', story) }}"),
    "padding": lambda: task_with("doc_to_text", "{{ story.ljust(999999999) }}"),
    "format": lambda: task_with("doc_to_text", "{{ '{:>999999999}'.format(1) }}"),
    "deep template": lambda: task_with("doc_to_text", "{{" + "(" * 2000 + "1" + ")" * 2000 + "}}"),
    "deep literal": lambda: task_with("doc_to_choice", "[" * 3000),
    "damaged parquet": lambda: zipped(
        {
            "counting.yaml": TASK_YAML.replace(".jsonl", ".parquet").encode(),
            "counting.parquet": b"PAR1" + b"\xff" * 99 + b"PAR1",
        }
    ),
    "many members": lambda: zipped({f"f{k}.txt": b"" for k in range(3000)}),
    "overlapping members": overlapping,
}


#: Checks every archive of a folder, each timed, and tells the most memory it ever had.
DRIVER = """
import json, pathlib, re, sys, time
from e2lm_leaderboard.bundle.check import check_path
from e2lm_leaderboard.season.season import SeasonRules
rules, told = SeasonRules(), {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    started = time.process_time()
    report = check_path(path, rules)
    told[path.name] = (report.accepted, time.process_time() - started, [f.sentence for f in report.findings][:3])
# Not ru_maxrss, which counts the parent's memory at the fork.
peak = re.search(r'VmHWM:\\s+(\\d+) kB', pathlib.Path('/proc/self/status').read_text())
print(json.dumps([told, int(peak[1]) * 1024]))
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, tuple[bool, float, list[str]]], int]:
    folder = tmp_path_factory.mktemp("hostile")
    for name, make in HOSTILE.items():
        (folder / f"{name}.zip").write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder)], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told, rss = json.loads(done.stdout)
    return told, rss


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_bundle_is_refused_within_two_seconds(
    verdicts: tuple[dict[str, tuple[bool, float, list[str]]], int], name: str
) -> None:
    accepted, cpu_s, findings = verdicts[0][f"{name}.zip"]
    assert not accepted
    assert findings
    assert cpu_s < MAX_S


def test_hostile_bundles_need_less_than_256_mib(verdicts: tuple[dict[str, tuple[bool, float, list[str]]], int]) -> None:
    assert verdicts[1] < MAX_RSS_BYTES


def test_a_template_ran_no_shell(verdicts: tuple[dict[str, tuple[bool, float, list[str]]], int]) -> None:
    assert verdicts[0]
    assert not Path("/tmp/e2lm-hostile").exists()


def test_links_and_sparse_giants_in_a_folder_are_refused_unread(tmp_path: Path) -> None:
    from e2lm_leaderboard.bundle.check import check_path
    from e2lm_leaderboard.season.season import SeasonRules

    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.txt").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    with open(tmp_path / "giant.txt", "wb") as handle:
        handle.truncate(10_000_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    report = check_path(tmp_path, SeasonRules())
    assert time.process_time() - started < MAX_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_RSS_BYTES // 1024
    assert {one.file for one in report.findings if one.check == "links"} == {"link.txt", "loop", "pipe.txt"}
    assert [one.check for one in report.findings if one.check == "size"] == ["size"]
    assert Bundle(FILES).content_id


class _Unseekable(io.RawIOBase):
    """Where sizes can only be written after the data, as macOS and GitHub write them."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        return len(data)


def made_by_people(top: str, comment: bytes = b"", litter: tuple[str, ...] = ()) -> bytes:
    out = _Unseekable()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, text in sample_files().items():
            archive.writestr(f"{top}{name}", text)
        for name in litter:
            archive.writestr(name, b"x")
        archive.comment = comment
    return b"".join(out.parts)


@pytest.mark.parametrize(
    "archive",
    [
        made_by_people("mine/"),
        made_by_people("mine/", litter=("__MACOSX/mine/._submission.yaml", "mine/.DS_Store")),
        made_by_people(
            "repo-main/", comment=b"0123456789abcdef0123456789abcdef01234567", litter=("repo-main/.gitignore",)
        ),
        made_by_people(""),
    ],
)
def test_archives_that_people_make_are_the_bundle_that_they_mean(archive: bytes) -> None:
    report = check_archive(archive, SeasonRules())
    assert report.findings == ()
    assert report.content_id == Bundle({name: text.encode() for name, text in sample_files().items()}).content_id


def test_sizes_after_the_data_must_be_those_of_the_directory() -> None:
    archive = made_by_people("mine/")
    at = archive.index(b"PK\x07\x08")
    changed = archive[: at + 8] + b"\x01" + archive[at + 9 :]
    (finding,) = check_archive(changed, SeasonRules()).findings
    assert "differ" in finding.found
