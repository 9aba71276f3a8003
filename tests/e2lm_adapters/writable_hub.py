"""The Hub's other half: repositories, branches, files and commits are taken from huggingface_hub's real client."""

from __future__ import annotations

import base64
import json
import shutil
from collections import Counter
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.e2lm_adapters.fake_hub import LARGE, FakeHub, _send

FIRST_COMMIT = "0" * 40


class WritableHub(FakeHub):
    """Keeps what it is sent below ``root``; ``uploaded`` names the contents of large files that came, by hash."""

    def __init__(self, root: Path) -> None:
        super().__init__({})
        self._root = root
        self._objects = root / "objects"
        self._objects.mkdir(parents=True)
        self._versions: Counter[tuple[str, str]] = Counter()
        self.uploaded: list[str] = []
        self.commits: list[tuple[str, str, list[str]]] = []
        self.private: dict[str, bool] = {}
        self.refuses: int | None = None

    def commit(self, repo: str, revision: str) -> str:
        return sha1(f"{repo}@{revision}@{self._versions[repo, revision]}".encode()).hexdigest()

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        folder = self.repos[repo][revision]
        return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}

    def _folder(self, repo: str, revision: str) -> tuple[Path, str] | None:
        return super()._folder(repo, unquote(revision))

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        if path.endswith("/commits/main"):
            self.requests.append((request.command, path, None))
            dated = {"authors": [], "date": "2026-01-01T00:00:00.000Z", "title": "", "message": ""}
            return _send(request, [{"id": name, **dated} for name in ("f" * 40, FIRST_COMMIT)])
        return super()._answer(request)

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.requests.append((request.command, path, None))
        self.on_request(request.command, path)
        if self.refuses is not None:
            return _send(request, {"error": "no"}, self.refuses)
        if path.startswith("/objects/"):
            return self._keep_object(request, path.rpartition("/")[2], body)
        return self._take_call(request, path, body)

    def _take_call(self, request: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        if path.endswith("/info/lfs/objects/batch"):
            return _send(request, self._batch(json.loads(body)))
        if path == "/api/repos/create":
            return self._create(request, json.loads(body))
        if path == "/api/validate-yaml":
            assert json.loads(body)["content"].startswith("---\n")
            return _send(request, {"errors": [], "warnings": []})
        return self._change(request, path, body)

    def _change(self, request: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        _, _, kind, owner, name, action, revision = path.split("/")
        repo = f"{owner}/{name}" if kind == "models" else f"{kind}/{owner}/{name}"
        if action == "branch":
            assert json.loads(body)["startingPoint"] == FIRST_COMMIT
            return self._branch(request, repo, revision)
        if action == "preupload":
            wanted = [one["path"] for one in json.loads(body)["files"]]
            modes = [
                {"path": one, "uploadMode": "lfs" if one.endswith(LARGE) else "regular", "shouldIgnore": False}
                for one in wanted
            ]
            return _send(request, {"files": modes})
        assert action == "commit", path
        return self._commit(request, repo, revision, [json.loads(line) for line in body.splitlines()])

    def _create(self, request: BaseHTTPRequestHandler, wanted: dict[str, Any]) -> None:
        repo = f"{wanted['organization']}/{wanted['name']}"
        repo = f"datasets/{repo}" if wanted.get("type") == "dataset" else repo
        if repo in self.repos:
            return _send(request, {"url": f"{self.endpoint}/{repo}"}, 409)
        self.repos[repo] = {}
        self.private[repo] = wanted.get("visibility") == "private"
        self._place(repo, "main")
        return _send(request, {"url": f"{self.endpoint}/{repo}"})

    def _branch(self, request: BaseHTTPRequestHandler, repo: str, revision: str) -> None:
        if revision in self.repos[repo]:
            return _send(request, {"error": "it is there"}, 409)
        self._place(repo, revision)
        return _send(request, {})

    def _place(self, repo: str, revision: str) -> None:
        folder = self._root / repo / revision
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n", encoding="utf-8")
        self.repos[repo][revision] = folder

    def _batch(self, wanted: dict[str, Any]) -> dict[str, Any]:
        objects: list[dict[str, Any]] = []
        for one in wanted["objects"]:
            there = (self._objects / one["oid"]).is_file()
            href = f"{self.endpoint}/objects/{one['oid']}"
            objects.append({**one} if there else {**one, "actions": {"upload": {"href": href}}})
        return {"transfer": "basic", "objects": objects}

    def _keep_object(self, request: BaseHTTPRequestHandler, name: str, body: bytes) -> None:
        assert sha256(body).hexdigest() == name
        (self._objects / name).write_bytes(body)
        self.uploaded.append(name)
        return _send(request, {})

    def _commit(self, request: BaseHTTPRequestHandler, repo: str, revision: str, lines: list[dict[str, Any]]) -> None:
        folder = self.repos[repo][revision]
        named = []
        for line in lines[1:]:
            value = line["value"]
            file = folder / value["path"]
            named.append(f"-{value['path']}" if line["key"] == "deletedFile" else value["path"])
            if line["key"] == "deletedFile":
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "lfsFile":
                shutil.copyfile(self._objects / value["oid"], file)
            else:
                assert line["key"] == "file"
                file.write_bytes(base64.b64decode(value["content"]))
        self._versions[repo, revision] += 1
        self.commits.append((repo, revision, sorted(named)))
        commit = self.commit(repo, revision)
        return _send(request, {"commitOid": commit, "commitUrl": f"{self.endpoint}/{repo}/commit/{commit}"})
