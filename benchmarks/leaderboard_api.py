"""Generates requests against the API from its own description, with schemathesis, which is no dependency.

    pip install schemathesis   (in an environment of its own)
    python benchmarks/leaderboard_api.py --schemathesis PATH/TO/st [--examples 700]

A finding is an answer that the description does not allow, or a crash.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from leaderboard_http import TOKEN, _wait, filled


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemathesis", default="st")
    parser.add_argument("--examples", type=int, default=700, help="examples per operation and phase")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="e2lm-api-"))
    filled(folder, 20)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "e2lm", "leaderboard", "serve", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            _wait(port)
            checker = [options.schemathesis, "run", f"http://127.0.0.1:{port}/api/openapi.json", "--checks", "all"]
            checker += ["--max-examples", str(options.examples), "--seed", str(options.seed), "--continue-on-failure"]
            checker += ["--header", f"Authorization: Bearer {TOKEN}", "--phases", "examples,coverage,fuzzing"]
            # Any bytes fit the description of a bundle; that most are refused (422, described) is no finding.
            checker += ["--exclude-checks", "positive_data_acceptance"]
            return subprocess.run(checker, check=False).returncode
        finally:
            server.terminate()


if __name__ == "__main__":
    raise SystemExit(main())
