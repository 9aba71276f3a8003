"""Writes figures: PNG, or one HTML page with the drawings inside it, which loads nothing from anywhere."""

from __future__ import annotations

import re
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.atomic_file import whole_file, write_text
from e2lm.errors import UserError

if TYPE_CHECKING:
    from e2lm.svg_chart import Chart

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


def write_charts(path: Path, title: str, charts: list[Chart], paragraphs: tuple[str, ...] = ()) -> None:
    """Write ``charts`` to ``path`` (.html or .svg; an SVG holds the first one); no library is needed."""
    from e2lm.svg_chart import svg

    if checked_suffix(path, (".html", ".svg")) == ".svg":
        write_text(path, svg(charts[0], standalone=True) + "\n")
        return
    body = "\n".join([*(f"<p>{escape(text)}</p>" for text in paragraphs), *(svg(chart) for chart in charts)])
    write_text(path, PAGE.format(title=escape(title), body=body))


def checked_suffix(path: Path, allowed: tuple[str, str] = (".html", ".png")) -> str:
    """The ending, in lower case; :class:`UserError` where it is not allowed."""
    if path.suffix.lower() not in allowed:
        raise UserError(f"--plot {path}: give a file that ends in {' or '.join(allowed)}")
    return path.suffix.lower()
