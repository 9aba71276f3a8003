"""Writes figures: PNG, or one HTML page with the drawings inside it, which loads nothing from anywhere."""

from __future__ import annotations

import re
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

from e2lm.atomic_file import whole_file, write_text
from e2lm.errors import UserError

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;line-height:1.5}}
svg{{width:100%;height:auto}}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""


def inline_svg(figure: Any) -> str:
    """The figure as an ``svg`` element, the same bytes for the same figure."""
    import matplotlib as mpl

    text = StringIO()
    with mpl.rc_context({"svg.hashsalt": "e2lm", "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    whole = text.getvalue()
    element = whole[whole.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>\s*", "", element, flags=re.DOTALL)


def write_figures(path: Path, title: str, figures: list[Any], paragraphs: tuple[str, ...] = ()) -> None:
    """Write ``figures`` to ``path`` (.html or .png; a PNG holds the first one)."""
    suffix = checked_suffix(path)
    if suffix == ".png":
        with whole_file(path) as partial:
            figures[0].savefig(partial, format="png", dpi=150, metadata={"Software": None})
        return
    body = "\n".join([*(f"<p>{escape(text)}</p>" for text in paragraphs), *(inline_svg(figure) for figure in figures)])
    write_text(path, PAGE.format(title=escape(title), body=body))


def checked_suffix(path: Path) -> str:
    """``.html`` or ``.png``; :class:`UserError` for anything else."""
    if path.suffix.lower() not in (".html", ".png"):
        raise UserError(f"--plot {path}: give a file that ends in .html or .png")
    return path.suffix.lower()
