"""A submission bundle in memory: the files of a folder or a zip archive, read within limits, never unpacked to disk."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from e2lm.errors import UserError
from e2lm_leaderboard import zip_archive
from e2lm_leaderboard.finding import Findings
from e2lm_leaderboard.member_name import name_problem, twins
from e2lm_leaderboard.season_rules import BundleLimits

NAME_RULE = "relative names of plain files, unique also where case is ignored"
#: Zip cannot say earlier; a fixed date makes the same files the same archive.
FIXED_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files by name."""

    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def content_id(self) -> str:
        """SHA-256 over names and contents: the same files give the same id, however they were packed.

        >>> Bundle({"a": b"1"}).content_id == Bundle({"a": b"2"}).content_id
        False
        """
        digest = sha256(b"e2lm-bundle-1\0")
        for name in sorted(self.files):
            digest.update(f"{name}\0{len(self.files[name])}\0".encode("utf-8", "surrogatepass"))
            digest.update(sha256(self.files[name]).digest())
        return digest.hexdigest()

    def packed(self) -> bytes:
        """The bundle as a zip archive; the same files give the same bytes."""
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(self.files):
                info = zipfile.ZipInfo(name, FIXED_DATE)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(info, self.files[name])
        return out.getvalue()


def read_bundle(path: Path, limits: BundleLimits, findings: Findings) -> Bundle:
    """The bundle at ``path``, a folder or an archive; what is wrong with it goes to ``findings``.

    Raises :class:`UserError` where there is nothing at ``path``.
    """
    if path.is_dir():
        return _folder_bundle(path, limits, findings)
    if not path.is_file():
        raise UserError(f"{path}: no such folder or zip archive; 'e2lm leaderboard new-submission {path}' makes one")
    size = path.stat().st_size
    if size > limits.archive_bytes:
        findings.add("size", path.name, "", f"{size:,} bytes", f"at most {limits.archive_bytes:,}", "leave files out")
        return Bundle()
    return archive_bundle(path.read_bytes(), limits, findings)


def archive_bundle(data: bytes, limits: BundleLimits, findings: Findings) -> Bundle:
    """The bundle in the bytes of a zip archive."""
    if len(data) > limits.archive_bytes:
        findings.add("size", "", "", f"{len(data):,} bytes", f"at most {limits.archive_bytes:,}", "leave files out")
        return Bundle()
    files: dict[str, bytes] = {}
    total = 0
    try:
        members = zip_archive.members(data, limits)
        _check_names([member.name for member in members], limits, findings)
        for member in members:
            total += member.size
            if not _within(total, len(data), limits, findings):
                return Bundle()
            files[member.name] = zip_archive.content(data, member)
    except zip_archive.ArchiveError as error:
        findings.add(error.check, error.member, "", error.found, "a plain zip archive of plain files", zip_archive.FIX)
        return Bundle()
    return _allowed(files, limits)


def _within(total: int, packed: int, limits: BundleLimits, findings: Findings) -> bool:
    if total > limits.total_bytes:
        what = f"more than {limits.total_bytes:,} bytes unpacked"
        findings.add("size", "", "", what, f"at most {limits.total_bytes:,}", "leave files out")
        return False
    if total > limits.ratio_from_bytes and total > limits.ratio * max(packed, 1):
        what = f"{total:,} bytes unpacked from {packed:,}"
        findings.add("size", "", "", what, f"at most {limits.ratio:g} times as many", "send it as a folder")
        return False
    return True


def _folder_bundle(root: Path, limits: BundleLimits, findings: Findings) -> Bundle:
    sizes: dict[str, int] = {}
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                name = Path(entry.path).relative_to(root).as_posix()
                if len(sizes) >= limits.members:
                    findings.add("members", "", "", "more files", f"at most {limits.members}", "leave files out")
                    return Bundle()
                if entry.is_dir(follow_symlinks=False):
                    if name.count("/") < limits.depth:
                        pending.append(Path(entry.path))
                    else:
                        findings.add("names", name, "", "folders too deep", f"{limits.depth} levels", "flatten it")
                elif entry.is_file(follow_symlinks=False):
                    sizes[name] = entry.stat(follow_symlinks=False).st_size
                else:
                    findings.add("links", name, "", "a link or device", "plain files", "copy the file itself")
    _check_names(sorted(sizes), limits, findings)
    if not _within(sum(sizes.values()), limits.total_bytes, limits, findings):
        return Bundle()
    files = {}
    for name in sorted(sizes):
        if name_problem(name, limits) is None:
            files[name] = _plain_content(root / name, sizes[name])
    return Bundle(files)


def _plain_content(path: Path, size: int) -> bytes:
    """At most ``size`` bytes, and never through a link that took the file's place meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as handle:
        return handle.read(size)


def _check_names(names: list[str], limits: BundleLimits, findings: Findings) -> None:
    for name in names:
        problem = name_problem(name, limits)
        if problem is not None:
            findings.add("names", name, "", problem, NAME_RULE, "rename it or leave it out")
    for first, second in twins(names)[:100]:
        findings.add("names", second, "", f"a twin of {first!r}", NAME_RULE, "rename one of the two")


def _allowed(files: dict[str, bytes], limits: BundleLimits) -> Bundle:
    return Bundle({name: files[name] for name in sorted(files) if name_problem(name, limits) is None})
