"""Distributions that exist only as metadata on ``sys.path``, which is all that importlib.metadata looks for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

#: Writes a distribution: ``install(name, {plugin: module}, {module: source})``.
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Writes a dist-info folder and modules into a folder of their own, which is put on ``sys.path``."""
    before = set(sys.modules)

    def write(
        name: str, plugins: Mapping[str, str], sources: Mapping[str, str] | None = None, version: str = "1.0"
    ) -> Path:
        site = tmp_path / f"site-{name}-{version}"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
        points = "".join(f"{plugin} = {module}\n" for plugin, module in plugins.items())
        (info / "entry_points.txt").write_text(f"[e2lm]\n{points}", encoding="utf-8")
        for module, source in (sources or {}).items():
            (site / f"{module}.py").write_text(dedent(source), encoding="utf-8")
        monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()
        return site

    yield write
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]
