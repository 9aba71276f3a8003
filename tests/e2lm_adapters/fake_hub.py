"""A small server that answers huggingface_hub's client as the Hub does, from folders on disk."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".parquet")
#: A model ``owner/name``, or a data set ``datasets/owner/name``.
REPO = r"((?:datasets/)?[^/]+/[^/]+)"


class FakeHub:
    """``repos`` maps ``owner/name`` to revision names and their folders; ``requests`` tells what was asked for."""

    def __init__(self, repos: dict[str, dict[str, Path]]) -> None:
        self.repos = repos
        self.requests: list[tuple[str, str, str | None]] = []
        self.on_request: Callable[[str, str], object] = lambda method, path: None
        #: By name of a file: bytes after which the connection is cut, and how often.
        self.cuts: dict[str, tuple[int, int]] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self)

            def do_HEAD(self) -> None:
                hub._answer(self)

            def do_POST(self) -> None:
                hub._take(self)

            def do_PUT(self) -> None:
                hub._take(self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def downloads(self, name: str = "model.safetensors") -> list[str]:
        """Commits whose file ``name`` was fetched, in order."""
        return [
            path.split("/resolve/")[1].split("/")[0]
            for method, path, wanted in self.requests
            if method == "GET" and "/resolve/" in path and path.endswith(name) and wanted != "bytes=0-100000"
        ]

    def commit(self, repo: str, revision: str) -> str:
        return sha1(f"{repo}@{revision}".encode()).hexdigest()

    def _folder(self, repo: str, revision: str) -> tuple[Path, str] | None:
        for name, folder in self.repos.get(repo, {}).items():
            if revision in (name, self.commit(repo, name)):
                return folder, self.commit(repo, name)
        return None

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        self.requests.append((request.command, path, request.headers.get("Range")))
        self.on_request(request.command, path)
        path = path.replace("/api/datasets/", "/api/models/datasets/")
        if match := re.fullmatch(rf"/api/models/{REPO}/refs", path):
            return self._refs(request, match[1])
        if match := re.fullmatch(rf"/api/models/{REPO}", path):
            path = f"{path}/revision/main"
        if match := re.fullmatch(rf"/api/models/{REPO}/(tree|revision)/([^/]+)(?:/.*)?", path):
            found = self._folder(match[1], match[3])
            if found is None:
                return _missing(request, match[1] in self.repos)
            return self._tree(request, *found) if match[2] == "tree" else _send(request, _info(match[1], *found))
        if match := re.fullmatch(rf"/{REPO}/resolve/([^/]+)/(.+)", path):
            found = self._folder(match[1], match[2])
            if found is None or not (found[0] / match[3]).is_file():
                return _missing(request, found is not None, "EntryNotFound")
            return self._file(request, found[0] / match[3], found[1])
        return _missing(request, False)

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        """Something is sent; :class:`WritableHub` accepts it."""
        _missing(request, False)

    def _refs(self, request: BaseHTTPRequestHandler, repo: str) -> None:
        if repo not in self.repos:
            return _missing(request, False)
        refs = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": self.commit(repo, name)}
            for name in self.repos[repo]
        ]
        return _send(request, {"branches": refs, "tags": [], "converts": []})

    @staticmethod
    def _tree(request: BaseHTTPRequestHandler, folder: Path, commit: str) -> None:
        entries: list[dict[str, Any]] = []
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            data = file.read_bytes()
            entry = {"type": "file", "path": str(file.relative_to(folder)), "size": len(data), "oid": _etag(file, data)}
            if file.suffix in LARGE:
                entry["oid"] = sha1(data).hexdigest()
                entry["lfs"] = {"oid": _etag(file, data), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        _send(request, entries)

    def _file(self, request: BaseHTTPRequestHandler, file: Path, commit: str) -> None:
        data = file.read_bytes()
        start, stop = 0, len(data)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
        if wanted:
            start, stop = int(wanted[1]), min(int(wanted[2]) + 1 if wanted[2] else len(data), len(data))
        request.send_response(206 if wanted else 200)
        request.send_header("X-Repo-Commit", commit)
        request.send_header("ETag", f'"{_etag(file, data)}"')
        request.send_header("Accept-Ranges", "bytes")
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        request.send_header("Content-Length", str(stop - start))
        request.end_headers()
        if request.command == "HEAD":
            return
        body = data[start:stop]
        after, times = self.cuts.get(file.name, (len(body), 0))
        if times and len(body) > after:
            self.cuts[file.name] = (after, times - 1)
            request.close_connection = True
            body = body[:after]
        request.wfile.write(body)


def _etag(file: Path, data: bytes) -> str:
    return sha256(data).hexdigest() if file.suffix in LARGE else sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _info(repo: str, folder: Path, commit: str) -> dict[str, Any]:
    files = [{"rfilename": str(one.relative_to(folder))} for one in sorted(folder.rglob("*")) if one.is_file()]
    return {"id": repo, "modelId": repo, "sha": commit, "siblings": files, "private": False, "tags": []}


def _send(request: BaseHTTPRequestHandler, value: object, status: int = 200) -> None:
    body = json.dumps(value).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _missing(request: BaseHTTPRequestHandler, known: bool, code: str = "RevisionNotFound") -> None:
    request.send_response(404)
    request.send_header("X-Error-Code", code if known else "RepoNotFound")
    request.send_header("Content-Length", "0")
    request.end_headers()
