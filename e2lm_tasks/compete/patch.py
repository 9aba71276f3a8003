"""``submission.zip``: ``evaluation.patch`` as ``git diff --cached`` prints new files, and ``metadata.yaml``.

The same entry gives the same bytes. The patch is for tiiuae/lm-evaluation-harness-competition (a fork of lm-eval
0.4.9) and applies to any lm-eval whose tasks lie in ``lm_eval/tasks``.
"""

from __future__ import annotations

import json
import zipfile
from hashlib import sha1
from io import BytesIO

from e2lm import UserError
from e2lm_tasks.compete.entry import TASKS_FOLDER, CompetitionEntry

PATCH, METADATA = "evaluation.patch", "metadata.yaml"
#: The oldest date a zip archive knows.
DATE = (1980, 1, 1, 0, 0, 0)


def evaluation_patch(entry: CompetitionEntry) -> bytes:
    """The patch that adds the files of the entry."""
    return b"".join(_added(f"{TASKS_FOLDER}/{entry.name}/{name}", data) for name, data in entry.files.items())


def _added(path: str, data: bytes) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: holds bytes that are no text, which a patch cannot add; write it as text") from error
    blob = sha1(b"blob %d\0" % len(data) + data).hexdigest()
    head = f"diff --git a/{path} b/{path}\nnew file mode 100644\nindex 0000000..{blob[:7]}\n".encode()
    if not data:
        return head
    *lines, unended = data.split(b"\n")
    body = b"".join(b"+" + line + b"\n" for line in lines)
    count = len(lines) + bool(unended)
    if unended:
        body += b"+" + unended + b"\n\\ No newline at end of file\n"
    place = f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1{'' if count == 1 else f',{count}'} @@\n".encode()
    return head + place + body


def metadata_yaml(entry: CompetitionEntry, metric: str) -> str:
    """Which task is scored by which of the metrics in lm-eval's results; the token is the entrant's to fill in."""
    return (
        f"task_name: {json.dumps(entry.name)}\ntask_metric: {json.dumps(metric)}\n"
        '# A read token of the Hub, if your data is private. Fill it in yourself.\nhf_token: ""\n'
    )


def submission_zip(entry: CompetitionEntry, metric: str) -> bytes:
    """The archive."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in ((PATCH, evaluation_patch(entry)), (METADATA, metadata_yaml(entry, metric).encode())):
            archive.writestr(zipfile.ZipInfo(name, DATE), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()
