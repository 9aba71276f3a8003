"""A submission bundle in memory: the files of a folder or a zip archive, read within limits, never unpacked to disk.

Names of its files are the same on every system, inside the bundle, and told apart by people. A :class:`Finding` is what
a check found wrong, where, and how to put it right.
"""

from __future__ import annotations

import io
import os
import stat
import unicodedata
import zipfile
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from e2lm.errors import UserError
from e2lm_leaderboard.bundle import zip_archive
from e2lm_leaderboard.season.season import BundleLimits

#: What a bundle is made of; anything else has no business there.
SUFFIXES = (".yaml", ".yml", ".jsonl", ".parquet", ".py", ".md", ".txt")
NAMES = ("LICENSE", "README")
#: Where a bundle begins.
MAIN_FILE = "submission.yaml"


def name_problem(name: str, limits: BundleLimits) -> str | None:
    """Why ``name`` is not allowed; None where it is.

    >>> name_problem("data/items.jsonl", BundleLimits())
    >>> name_problem("../items.jsonl", BundleLimits())
    "'..' leads out of the bundle"
    """
    return _text_problem(name, limits) or _path_problem(name, limits)


def _text_problem(name: str, limits: BundleLimits) -> str | None:
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "not UTF-8"
    problems = (
        (not 1 <= size <= limits.name_bytes, f"{size} bytes long, allowed are 1 to {limits.name_bytes}"),
        (not name.isprintable(), "characters that do not print"),
        (name != unicodedata.normalize("NFC", name), "characters that are not in composed form (NFC)"),
        ("\\" in name or ":" in name, "a backslash or colon, which some systems read as a path"),
        (name.startswith("/"), "an absolute path"),
    )
    return next((problem for is_so, problem in problems if is_so), None)


def _path_problem(name: str, limits: BundleLimits) -> str | None:
    parts = name.split("/")
    last = PurePosixPath(name)
    unknown = last.suffix not in SUFFIXES and last.name not in NAMES
    problems = (
        (".." in parts, "'..' leads out of the bundle"),
        (any(part in ("", ".") for part in parts), "empty or '.' parts"),
        (any(part != part.strip() or part.endswith(".") for part in parts), "a part with a space or dot at its end"),
        (len(parts) > limits.depth, f"{len(parts)} levels deep, allowed are {limits.depth}"),
        (
            any(part.startswith(".") for part in parts) or "__pycache__" in parts,
            "hidden files and caches do not belong into a bundle",
        ),
        (unknown, f"the kind of file is unknown; allowed are {', '.join((*SUFFIXES, *NAMES))}"),
    )
    return next((problem for is_so, problem in problems if is_so), None)


def twins(names: list[str]) -> list[tuple[str, str]]:
    """Pairs that a system which ignores case holds for one, and files that are also folders.

    >>> twins(["A.yaml", "a.yaml", "b.py", "b.py/c.py"])
    [('A.yaml', 'a.yaml'), ('b.py', 'b.py/c.py')]
    """
    seen: dict[str, str] = {}
    found = []
    for name in names:
        key = unicodedata.normalize("NFKC", name).casefold()
        if key in seen:
            found.append((seen[key], name))
        seen.setdefault(key, name)
    for key, name in list(seen.items()):
        for parent in PurePosixPath(key).parents:
            if str(parent) in seen:
                found.append((seen[str(parent)], name))
    return found


#: Findings of one check and file that are told one by one; the rest are counted.
SHOWN_PER_CHECK = 10

#: What was found is quoted up to here: it may be long, and made to be.
QUOTED_CHARS = 120


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason to refuse a submission."""

    check: str
    file: str
    field: str
    found: str
    expected: str
    fix: str

    def as_json(self) -> dict[str, Any]:
        """The finding as plain values."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """The finding in one line.

        >>> Finding("items", "a.jsonl", "line 3", "found 2", "expected 3", "add one").sentence
        'a.jsonl: line 3: found 2; expected 3; add one [items]'
        """
        said = f"{self.found}; {self.expected}; {self.fix} [{self.check}]"
        return ": ".join(part for part in (self.file, self.field, said) if part)


@dataclass(slots=True)
class Findings:
    """Findings in the order they were made, at most :data:`SHOWN_PER_CHECK` of a kind and file in full."""

    shown: list[Finding] = field(default_factory=list)
    _counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, check: str, file: str, place: str, found: object, expected: str, fix: str) -> None:
        """Note one."""
        key = (check, file)
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] <= SHOWN_PER_CHECK:
            self.shown.append(Finding(check, quoted(file), quoted(place), f"found {quoted(found)}", expected, fix))

    def __len__(self) -> int:
        return sum(self._counts.values())

    def is_full(self, check: str, file: str) -> bool:
        """Whether more of this kind would only be counted."""
        return self._counts.get((check, file), 0) >= SHOWN_PER_CHECK

    def listed(self) -> list[Finding]:
        """All of them, with one line for those that were only counted."""
        rest = [
            Finding(check, quoted(file), "", f"found {count - SHOWN_PER_CHECK} more of these", "none", "as above")
            for (check, file), count in self._counts.items()
            if count > SHOWN_PER_CHECK
        ]
        return [*self.shown, *rest]


def quoted(value: object) -> str:
    r"""``value`` as short printable text of one line.

    >>> quoted("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    text = value if isinstance(value, str) else repr(value)
    cut = text[:QUOTED_CHARS]
    clean = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
    return clean + ("..." if len(text) > QUOTED_CHARS else "")


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
        for member in members:
            total += member.size
            if not _within(total, len(data), limits, findings):
                return Bundle()
            if not is_litter(member.name):
                files[member.name] = zip_archive.content(data, member)
        files = _without_top_folder(files)
        _check_names([*files], limits, findings)
    except zip_archive.ArchiveError as error:
        findings.add(error.check, error.member, "", error.found, "a plain zip archive of plain files", zip_archive.FIX)
        return Bundle()
    return _allowed(files, limits)


#: What file managers and version control leave beside what people meant.
LITTER = frozenset(
    {".DS_Store", "__MACOSX", "Thumbs.db", "desktop.ini", ".git", ".github", ".gitignore", ".gitattributes"}
)


def is_litter(name: str) -> bool:
    """Whether a file is none that anybody meant to send.

    >>> is_litter("__MACOSX/mine/._submission.yaml"), is_litter("mine/submission.yaml")
    (True, False)
    """
    return any(part in LITTER for part in name.split("/"))


def _without_top_folder(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files inside the one folder that holds them all, where somebody zipped the folder itself."""
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or f"{(top := tops.pop())}/{MAIN_FILE}" not in files:
        return files
    return {name[len(top) + 1 :]: content for name, content in files.items()}


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
                if is_litter(name):
                    continue
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
