"""The archive that the competition of 2025 took: ``evaluation.patch`` against lm-eval, and ``metadata.yaml``.

Only a patch of new files below ``lm_eval/tasks`` can be read as tasks: one that changes lm-eval itself changes what its
numbers mean. ``hf_token`` is never looked at.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePosixPath
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm_leaderboard.bundle.task_file import YamlError, parsed_yaml

PATCH, METADATA = "evaluation.patch", "metadata.yaml"
TASKS_FOLDER = "lm_eval/tasks/"
MAX_BYTES = 64 << 20
#: Git puts names into quotation marks where they hold other than ASCII, or what would be read as something else.
HEAD = re.compile(rb'^diff --git ("?)a/(.+?)\1 ("?)b/(.+?)\3$')
#: The hunk of a new file, and how many lines it brings.
HUNK = re.compile(rb"^@@ -0,0 \+1(?:,(\d+))? @@")


def is_official(data: bytes) -> bool:
    """Whether it is such an archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(PurePosixPath(name).name == PATCH for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def official_tasks(data: bytes, place: str) -> tuple[dict[str, bytes], str, str]:
    """Files below ``lm_eval/tasks``, the name of the task, and the metric; ``place`` stands in messages."""
    patch, metadata = _member(data, PATCH, place), _member(data, METADATA, place)
    try:
        told = parsed_yaml(metadata.decode("utf-8"))
    except (YamlError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: {METADATA}: {one_line(error)}") from error
    name = _task_name(told) if isinstance(told, dict) else None
    metric = str(told.get("task_metric") or "").partition(",")[0] if isinstance(told, dict) else ""
    return patch_files(patch, f"{place}: {PATCH}"), str(name or ""), metric


def _task_name(told: dict[str, Any]) -> Any:
    """The task of the entry; of a form with a list of them, the one that it has."""
    evaluation = told.get("evaluation")
    listed = evaluation.get("tasks") if isinstance(evaluation, dict) else None
    return told.get("task_name") or (listed[0] if isinstance(listed, list) and len(listed) == 1 else None)


def _member(data: bytes, wanted: str, place: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [one for one in archive.infolist() if PurePosixPath(one.filename).name == wanted]
            found = next((one for one in names if not one.filename.startswith("__MACOSX/")), None)
            if found is None:
                raise UserError(f"{place}: no {wanted} in it; expected {PATCH} and {METADATA}")
            with archive.open(found) as member:
                content = member.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError) as error:
        raise UserError(f"{place}: {wanted}: cannot be read ({one_line(error)})") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"{place}: {wanted}: more than {MAX_BYTES >> 20} MiB unpacked")
    return content


def patch_files(patch: bytes, place: str) -> dict[str, bytes]:
    r"""The files that the patch adds, by their path below ``lm_eval/tasks``.

    >>> head = b"diff --git a/lm_eval/tasks/x/a.yaml b/lm_eval/tasks/x/a.yaml\nnew file mode 100644\n"
    >>> patch_files(head + b"--- /dev/null\n+++ b/lm_eval/tasks/x/a.yaml\n@@ -0,0 +1 @@\n+task: x\n", "")
    {'x/a.yaml': b'task: x\n'}
    """
    files: dict[str, bytes] = {}
    for part in re.split(rb"(?m)^(?=diff --git )", patch):
        head, _, rest = part.partition(b"\n")
        found = HEAD.match(head.rstrip(b"\r"))
        if found is None:
            if part.startswith(b"diff --git "):
                told = head.decode("utf-8", "replace")[:160]
                raise UserError(f"{place}: {told}: cannot be read; write it with 'git diff --cached'")
            continue
        name = _name(found)
        if not rest.startswith(b"new file mode"):
            raise UserError(f"{place}: changes {name}; only files that it adds below {TASKS_FOLDER} can be imported")
        path = PurePosixPath(name)
        if not name.startswith(TASKS_FOLDER) or ".." in path.parts:
            raise UserError(
                f"{place}: adds {name}, which is code of lm-eval itself; expected files below {TASKS_FOLDER}"
            )
        files[name.removeprefix(TASKS_FOLDER)] = _added(rest, f"{place}: {name}")
    if not files:
        raise UserError(f"{place}: adds no file below {TASKS_FOLDER}; write it with 'git diff --cached'")
    return files


def _name(found: re.Match[bytes]) -> str:
    """The name of the file, out of git's quotation marks."""
    raw = found.group(4)
    if found.group(3):
        raw = raw.decode("unicode_escape").encode("latin-1", "replace")
    return raw.decode("utf-8", "replace")


def _added(rest: bytes, place: str) -> bytes:
    """What the hunks of a new file say."""
    if b"GIT binary patch" in rest.partition(b"\n@@")[0]:
        raise UserError(f"{place}: is binary; write the data as JSON lines")
    _, mark, hunk = rest.partition(b"\n@@")
    if not mark:  # an empty file
        return b""
    told, _, body = hunk.partition(b"\n")
    lines = body.split(b"\n")
    added = [line[1:] + b"\n" for line in lines if line.startswith(b"+")]
    found = HUNK.match(b"@@" + told)
    if found is None or len(added) != int(found.group(1) or 1):
        said = (b"@@" + told).decode("utf-8", "replace")[:40]
        raise UserError(f"{place}: {len(added)} lines after {said!r}: is the patch cut short? write it anew")
    content = b"".join(added)
    return content[:-1] if any(line.startswith(b"\\ No newline") for line in lines) else content
