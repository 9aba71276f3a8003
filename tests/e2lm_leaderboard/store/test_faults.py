"""Whatever breaks is answered by one line or a state that can be seen, and nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from e2lm.errors import UserError
from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.intake import take_in
from e2lm_leaderboard.cli.entrant import sample_files, write_sample
from e2lm_leaderboard.sandbox.check import sandbox_verdict
from e2lm_leaderboard.sandbox.sandbox import SandboxLimits, run_in_sandbox
from e2lm_leaderboard.season.run import SeasonRun
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.database import StoreUnavailableError, database_url
from e2lm_leaderboard.store.store import Incoming, LimitReachedError, Result, Store
from e2lm_leaderboard.store.tables import State
from e2lm_leaderboard.web.app import create_app
from e2lm_leaderboard.web.guard import token_hash
from tests.e2lm_leaderboard.season_samples import NOW, TOKEN

SAMPLE = {name: text.encode() for name, text in sample_files().items()}
#: A disk of its own for whatever follows, seen by nobody else.
ON_SMALL_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
E2LM = f"{sys.executable} -m e2lm leaderboard"


def incoming(content: str, size: int = 10, team: str = "reds") -> Incoming:
    archive = (content * size).encode()
    return Incoming(sha256(archive).hexdigest(), archive, "sums", "Sums", team)


def on_small_disk(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """``script`` with a disk of 1 MiB at ``folder``/disk; skipped where such cannot be made."""
    (folder / "disk").mkdir(exist_ok=True)
    mount = "mount -t tmpfs -o size=1m none disk"
    if shutil.which("unshare") is None or subprocess.run([*ON_SMALL_DISK, mount], cwd=folder, check=False).returncode:
        pytest.skip("no file system can be mounted here (needs user namespaces)")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*ON_SMALL_DISK, f"{mount}\n{script}"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_a_full_disk_refuses_in_one_line_and_goes_on_once_there_is_space(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_sample(tmp_path / name)
    (tmp_path / "second" / "README").write_text("another", encoding="utf-8")
    done = on_small_disk(
        f"""
        {E2LM} init disk/season --team reds > /dev/null
        {E2LM} submit disk/season first --team reds
        dd if=/dev/zero of=disk/filler bs=1k 2> /dev/null || true
        {E2LM} submit disk/season second --team reds && exit 9 || echo "code $?"
        {E2LM} export disk/season disk/site && exit 9 || echo "code $?"
        test ! -e disk/site
        {E2LM} rank disk/season > /dev/null || echo "code $?"
        rm disk/filler
        {E2LM} submit disk/season second --team reds
        {E2LM} rank disk/season
        {E2LM} verify disk/season
        """,
        tmp_path,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "Traceback" not in told
    assert done.stdout.count("code 3") == 3
    assert done.stderr.count("the database failed") == 3
    assert done.stdout.count("queued") == 4  # twice entered, twice listed


def test_a_disk_that_may_only_be_read_refuses_in_one_line(tmp_path: Path) -> None:
    write_sample(tmp_path / "first")
    done = on_small_disk(
        f"""
        {E2LM} init disk/season --team reds > /dev/null
        mount -o remount,ro disk
        {E2LM} submit disk/season first --team reds && exit 9 || echo "code $?"
        mount -o remount,rw disk
        {E2LM} submit disk/season first --team reds
        """,
        tmp_path,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "Traceback" not in told
    assert "code 3" in done.stdout
    assert "queued" in done.stdout


def test_changes_that_came_with_one_that_found_the_disk_full_are_not_acknowledged(tmp_path: Path) -> None:
    store = Store(database_url(str(tmp_path)))
    store.submit(incoming("before"), 100, NOW)
    with store._writing.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    from sqlalchemy import event

    def small(connection: object, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages + 20}")  # type: ignore[attr-defined]

    event.listen(store._writing, "checkout", small)
    ends: list[object] = []
    waiting = [store.submit_later(incoming(f"{k}", 200 if k % 3 else 200_000), 1000, NOW) for k in range(30)]
    for future in waiting:
        ends.append(future.exception() or future.result()[0].id)
    refused = [one for one in ends if isinstance(one, Exception)]
    assert refused
    assert {type(one) for one in refused} == {StoreUnavailableError}
    assert "full" in str(refused[0])
    acknowledged = {one for one in ends if isinstance(one, str)}
    event.remove(store._writing, "checkout", small)
    store.close()
    store = Store(database_url(str(tmp_path)))
    assert {entry.id for entry in store.entries()} == acknowledged | {incoming("before").id}
    assert store.submit(incoming("0", 200_000), 1000, NOW)[1]
    assert store.verify() == []
    store.close()


def test_a_clock_that_goes_back_neither_opens_the_day_again_nor_breaks_the_log(store: Store) -> None:
    for k in range(2):
        store.submit(incoming(f"{k}"), 2, NOW)
    for days in (1, 30, 3650):
        with pytest.raises(LimitReachedError):
            store.submit(incoming("third"), 2, NOW - timedelta(days=days))
    key = store.submit(incoming("other", team="blues"), 2, NOW - timedelta(days=400))[0].id
    store.move(key, State.CHECKING, NOW - timedelta(days=800))
    store.move(key, State.RUNNING, NOW)
    store.record(key, [Result("public", "sq", "", 0.5)], {"k": 1}, NOW - timedelta(days=1))
    assert [entry.number for entry in store.entries()] == [1, 2, 3]
    assert store.entry(key).state == State.SCORED
    assert store.verify() == []
    season = Season(title="T", ends_at=NOW.isoformat())
    assert season.is_over(NOW)
    assert not season.is_over(NOW - timedelta(seconds=1))


def test_postgresql_may_be_restarted_while_submissions_come_in(postgres, postgres_url: str) -> None:  # type: ignore[no-untyped-def]
    store = Store(postgres_url)
    acknowledged: list[str] = []
    with ThreadPoolExecutor(8) as pool:
        ends = [pool.submit(store.submit, incoming(f"{k}", 500), 10**6, NOW) for k in range(100)]
        postgres.control("restart")
        ends += [pool.submit(store.submit, incoming(f"{k}", 500), 10**6, NOW) for k in range(100, 200)]
        acknowledged = [end.result()[0].id for end in ends]
    assert len(store.entries()) == len(set(acknowledged)) == 200
    assert [entry.number for entry in store.entries()] == list(range(1, 201))
    assert store.verify() == []
    store.close()


def test_the_server_says_503_while_the_database_is_away_and_goes_on_after(postgres, postgres_url: str) -> None:  # type: ignore[no-untyped-def]
    from e2lm_leaderboard.store import group_commit

    store = Store(postgres_url)
    store.add_team("reds", token_hash(TOKEN), "team", NOW)
    client = TestClient(create_app(store, Season(title="T"), now=lambda: NOW), base_url="http://127.0.0.1")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    archive = Bundle(SAMPLE).packed()
    assert client.get("/").status_code == 200
    assert client.post("/api/v1/submissions", content=archive, headers=headers).status_code == 201
    again = Bundle({**SAMPLE, "README": b"again"}).packed()
    postgres.control("stop")
    try:
        patched = pytest.MonkeyPatch()
        patched.setattr(group_commit, "RETRY_S", 0.5)
        time.sleep(0.1)  # longer than a page is kept without asking
        for path in ("/", "/status", "/api/v1/ranking", "/api/v1/submissions/abcd"):
            answer = client.get(path)
            assert answer.status_code == 503, path
            assert answer.headers["retry-after"] == "60"
            assert "Traceback" not in answer.text
        page = client.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["retry-after"]) == (503, "60")
        assert "<h1>503 Service Unavailable</h1>" in page.text
        assert client.post("/api/v1/submissions", content=again, headers=headers).status_code == 503
    finally:
        patched.undo()
        postgres.control("start")
    assert client.get("/status").status_code == 200
    assert client.post("/api/v1/submissions", content=archive, headers=headers).status_code == 200
    assert client.post("/api/v1/submissions", content=again, headers=headers).status_code == 201
    assert store.verify() == []
    store.close()


def processes() -> dict[int, tuple[str, int]]:
    """Name and parent of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition(") ")
            found[int(path.parent.name)] = (name.partition("(")[2], int(rest.split()[1]))
        except (OSError, ValueError, IndexError):
            continue
    return found


def running_sandbox() -> int | None:
    """Our bubblewrap, once a program runs in it: killed earlier it could not yet take the program along."""
    found = processes()
    for name, parent in found.values():
        while name.startswith("python") and parent in found and parent != os.getpid():
            above, grandparent = found[parent]
            if above == "bwrap" and grandparent == os.getpid():
                return parent
            parent = grandparent
    return None


def test_a_sandbox_that_is_killed_is_told() -> None:
    if not sandbox_verdict().stopped:
        pytest.skip(f"no sandbox on this machine: {sandbox_verdict().reason}")
    stop = threading.Event()

    def kill_children() -> None:
        while not stop.wait(0.01):
            sandbox = running_sandbox()
            if sandbox is not None:
                os.kill(sandbox, signal.SIGKILL)
                return

    killer = threading.Thread(target=kill_children)
    killer.start()
    try:
        done = run_in_sandbox({"run.py": b"import time; time.sleep(60)"}, SandboxLimits(wall_s=30.0))
        assert done.code != 0
    finally:
        stop.set()
        killer.join()


@pytest.fixture
def own_series(tmp_path: Path, tiny_series: Path) -> Iterator[SeasonRun]:
    """A season over a run of one's own."""
    series = tmp_path / "series"
    shutil.copytree(tiny_series, series)
    season = Season(title="T", series=(str(series),))
    season.write(tmp_path)
    store = Store(database_url(str(tmp_path)))
    store.set_setting("split_salt", "salt")
    yield SeasonRun(tmp_path, season, store, tell=lambda _: None, now=lambda: NOW)
    store.close()


@pytest.mark.slow
def test_a_checkpoint_that_vanishes_ends_the_run_in_one_line_and_it_goes_on_once_it_is_back(
    own_series: SeasonRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from e2lm_leaderboard.season import run as season_run

    run, weights = own_series, tmp_path / "series" / "checkpoint-20" / "model.safetensors"
    assert weights.is_file()
    entry = take_in(run.store, run.season.rules, Bundle(SAMPLE).packed(), "reds", NOW).entry
    assert entry is not None
    with monkeypatch.context() as patched:
        evaluate = season_run.evaluate  # type: ignore[attr-defined]

        def without_weights(*arguments: object) -> None:
            weights.rename(tmp_path / "kept")
            evaluate(*arguments)

        patched.setattr(season_run, "evaluate", without_weights)
        with pytest.raises(UserError) as caught:
            run.run()
    assert "checkpoint-20" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert run.store.entry(entry.id).state == State.RUNNING
    (tmp_path / "kept").rename(weights)
    assert run.run() == 1
    assert run.store.entry(entry.id).state == State.SCORED
    assert run.store.verify() == []
