"""``make release-check REPOSITORY=URL``: what goes to an index, built, looked at, installed as a stranger would.

The archives are built from what git holds, with the links of the README made absolute and the address of the
repository in the metadata; then the wheel goes into a new environment by the two lines of the README, by pip, and by
uv where there is one. A line per check; exit code 1 where one fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: A link or picture of Markdown that leads to a file of ours.
RELATIVE = re.compile(r"(!?)(\[[^\]]*\])\((?![a-z]+:|#)([^)\s]+)\)")
#: What an index shows beside the README.
WANTED = ("Name", "Version", "Summary", "License-Expression", "Requires-Python", "Keywords", "Project-URL")
#: What every new environment is asked, and a word of the answer.
QUESTIONS = (
    (["e2lm", "--version"], "e2lm "),
    (["e2lm", "plugins", "list"], "signal"),
    (["e2lm", "demo", "--dry-run"], "sizes"),
    (["lm_eval", "ls", "tasks"], "e2lm_early"),
)


def with_absolute_links(text: str, repository: str) -> str:
    """``text`` for an index: files are looked at in the repository, pictures taken from it as they are.

    >>> with_absolute_links("[a](docs/a.md) ![p](p.svg) [b](https://b)", "https://x/y")
    '[a](https://x/y/blob/main/docs/a.md) ![p](https://x/y/raw/main/p.svg) [b](https://b)'
    """

    def absolute(match: re.Match[str]) -> str:
        kind = "raw" if match[1] else "blob"
        return f"{match[1]}{match[2]}({repository}/{kind}/main/{match[3]})"

    return RELATIVE.sub(absolute, text)


def source_for_index(folder: Path, repository: str) -> None:
    """Everything that git holds in ``folder``, the README and the metadata made ready for an index."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    readme, project = folder / "README.md", folder / "pyproject.toml"
    readme.write_text(with_absolute_links(readme.read_text("utf-8"), repository), "utf-8")
    urls = f'[project.urls]\nRepository = "{repository}"\nChangelog = "{repository}/blob/main/CHANGELOG.md"\n\n'
    project.write_text(project.read_text("utf-8").replace("[project.scripts]", urls + "[project.scripts]", 1), "utf-8")


def metadata_faults(wheel: Path) -> list[str]:
    """What an index, or a reader of its page, would miss."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        found = message_from_bytes(archive.read(name))
    faults = [f"metadata: no {field}" for field in WANTED if not found.get_all(field)]
    relative = RELATIVE.findall(str(found.get_payload()))
    return faults + [f"README: link to {target} leads nowhere on an index" for _, _, target in relative]


def source_faults(sdist: Path) -> list[str]:
    """Files that a build from the source archive lacks."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    return [f"source archive: no {one}" for one in ("LICENSE", "README.md", "pyproject.toml") if one not in names]


def installers(work: Path) -> Iterator[tuple[str, list[str], Path]]:
    """Name, command and environment of every installer there is, each with an environment of its own."""
    pip = work / "by-pip"
    subprocess.run([sys.executable, "-m", "venv", str(pip)], check=True)
    yield "pip", [str(pip / "bin" / "pip")], pip
    if (uv := shutil.which("uv")) is not None:
        own = work / "by-uv"
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(own)], check=True)
        yield "uv", [uv, "pip"], own


def installation_faults(name: str, command: list[str], environment: Path, wheel: Path, torch: str) -> list[str]:
    """What goes wrong from the README's two lines to the first answers."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "E2LM_"))}
    variables |= {"VIRTUAL_ENV": str(environment), "HF_HUB_OFFLINE": "1"}
    variables["PATH"] = f"{environment / 'bin'}{os.pathsep}{variables['PATH']}"
    if "PIP_FIND_LINKS" in variables:
        variables.setdefault("UV_FIND_LINKS", variables["PIP_FIND_LINKS"])
    constraints = ["-c", str(ROOT / "constraints.txt")]
    lines = [*([*command, "install", "-q", *what] for what in ([torch], [*constraints, str(wheel)]))]
    for line, word in [*((line, "") for line in lines), *QUESTIONS]:
        # Not in the checkout, whose folders Python would find before what was installed.
        done = subprocess.run(line, cwd=environment, env=variables, check=False, capture_output=True, text=True)
        if done.returncode != 0 or word not in done.stdout:
            return [f"{name}: {' '.join(line[:3])}: exit code {done.returncode}: {done.stderr.strip()[-300:]}"]
    files = [one for one in environment.rglob("*") if one.is_file() and not one.is_symlink()]
    mega = sum(one.stat().st_size for one in files) / 1e6
    print(f"{name}: installed, {mega:,.0f} MB; answers {len(QUESTIONS)} questions")
    return []


def main() -> int:
    """Build, look, install; the archives stay in ``dist``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", help="address of the public repository, https://HOST/OWNER/NAME")
    parser.add_argument("--torch", default="torch==2.13.0", help="what the first line installs (torch==2.13.0+cpu)")
    given = parser.parse_args()
    if not re.fullmatch(r"https://[^/\s]+/\S+[^/\s]", given.repository):
        parser.error(f"repository: found {given.repository!r}; give its address, https://HOST/OWNER/NAME")
    dist = ROOT / "dist"
    with tempfile.TemporaryDirectory(prefix="e2lm-release-") as place:
        source = Path(place) / "source"
        source.mkdir()
        source_for_index(source, given.repository)
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        wheel, sdist = max(dist.glob("*.whl"), key=os.path.getmtime), max(dist.glob("*.tar.gz"), key=os.path.getmtime)
        faults = [*metadata_faults(wheel), *source_faults(sdist)]
        for name, command, environment in installers(Path(place)):
            faults += installation_faults(name, command, environment, wheel, given.torch)
    print("\n".join(faults) or f"ready: {wheel.name}, {sdist.name} in {dist.name}/")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
