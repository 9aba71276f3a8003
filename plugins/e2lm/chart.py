"""Line charts as self-contained SVG: lines, bands, points and reference lines; light and dark.

The text of a chart needs no script and no request, so it stands in a report, a README or a web page alike, and the same
data give the same bytes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from unicodedata import east_asian_width

from e2lm.messages import Html, say, short

#: Blues for ordered series (small to large): from light to dark, so that the largest stands out.
RAMP = ("#9ecae1", "#6baed6", "#3182bd", "#08519c", "#08306b")
#: What dark pages show in their place: from dark to light.
_DARK_RAMP = ("#2f6f9f", "#4292c6", "#6baed6", "#9ecae1", "#deebf7")
#: Colours for unordered series, told apart also by people who see few colours (Okabe and Ito 2008).
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_DARK_BLUES = "\n".join(
    f'  .e2lm-chart [stroke="{light}"] {{ stroke: {dark}; }} .e2lm-chart [fill="{light}"] {{ fill: {dark}; }}'
    for light, dark in zip(RAMP, _DARK_RAMP, strict=True)
)
_STYLE = f"""
.e2lm-chart {{ font: 12px system-ui, sans-serif; }}
.e2lm-chart .ink {{ fill: #1f2328; }} .e2lm-chart .soft {{ fill: #59636e; }}
.e2lm-chart .grid {{ stroke: #d1d9e0; stroke-width: 1; }} .e2lm-chart .axis {{ stroke: #818b98; stroke-width: 1; }}
.e2lm-chart .mark {{ stroke: #59636e; stroke-width: 1; stroke-dasharray: 4 3; }}
.e2lm-chart .over {{ paint-order: stroke; stroke: #ffffffb0; stroke-width: 3; }}
@media (prefers-color-scheme: dark) {{
  .e2lm-chart .ink {{ fill: #e6edf3; }} .e2lm-chart .soft {{ fill: #9198a1; }}
  .e2lm-chart .grid {{ stroke: #30363d; }} .e2lm-chart .axis {{ stroke: #656c76; }}
  .e2lm-chart .mark {{ stroke: #9198a1; }} .e2lm-chart .over {{ stroke: #0d1117b0; }}
{_DARK_BLUES}
}}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A line through (x, y); ``low`` and ``high`` draw a band around it. Points that are not finite leave a gap.

    ``hover`` has a text for each point, which is shown where a pointer rests on it; no script is needed for that.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    color: str = CATEGORIES[0]
    points: bool = True
    dashed: bool = False
    hover: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A dashed horizontal line at ``y``, for chance levels and the like."""

    label: str
    y: float


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart shows; the text alternative of the picture is ``description`` or the title.

    In 420 pixels the text can be read on a telephone too, and on a page the chart grows with its column. ``labelled``
    writes the name of every line beside its first point, each in a place of its own, and there is no legend.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = field(default_factory=tuple)
    log_x: bool = False
    legend: bool = True
    description: str = ""
    width: int = 420
    height: int = 280
    labelled: bool = False


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps data to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 34, 44
_LEGEND_ROW = 16
#: A line of the legend with the gap before its name.
_KEY = 23
#: Where a text begins that is too long to begin above the plot.
_EDGE = 6
#: A text is squeezed by at most this.
MOST_SQUEEZED = 1.5
#: Pixels of a letter of 12 pixels, on the average of ordinary text and at most; of a Chinese or Japanese one.
_LETTER, _WIDE_LETTER, _CJK_LETTER = 6.6, 7.6, 12.0


def ramp(count: int) -> list[str]:
    """``count`` colours from light to dark.

    >>> ramp(2)
    ['#9ecae1', '#08519c']
    """
    last = 3 if count <= 4 else 4
    if count == 1:
        return [RAMP[last]]
    return [RAMP[round(index * last / (count - 1))] for index in range(count)]


def svg(chart: Chart, standalone: bool = False) -> Html:
    """The chart as an ``<svg>`` element; ``standalone`` adds the namespace a file of its own needs."""
    points = [(x, y) for line in chart.lines for x, y in zip(line.x, line.y, strict=True) if _shown(x, y, chart.log_x)]
    legend = [line for line in chart.lines if line.label] if chart.legend and not chart.labelled else []
    height = chart.height + _LEGEND_ROW * len(_legend_rows(legend, chart.width))
    namespace = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
    head = (
        f'<svg{namespace} class="e2lm-chart" viewBox="0 0 {chart.width} {height}" width="{chart.width}" '
        f'height="{height}" role="img" aria-label="{escape(chart.description or chart.title, quote=True)}">'
        f"<style>{_STYLE}</style>{_title(chart)}"
    )
    if not points:
        nothing = escape(say("nothing_to_show"))
        return Html(f'{head}<text class="soft" x="{_LEFT}" y="{chart.height / 2:.0f}">{nothing}</text></svg>')
    across, up = _scales(chart, points)
    parts = [
        head,
        _up_axis(chart, up),
        _across_axis(chart, across),
        *(_mark(mark, up, chart) for mark in chart.marks),
        *(_grouped(line, _band(line, across, up, chart.log_x)) for line in chart.lines),
        *(_grouped(line, _line(line, across, up, chart.log_x)) for line in chart.lines),
        *(_point_labels(chart, across, up) if chart.labelled else ()),
        *(_mark_label(mark, up, chart) for mark in chart.marks),
        _legend(legend, chart),
        "</svg>",
    ]
    return Html("".join(parts))


def _title(chart: Chart) -> str:
    x = _LEFT if _pixels(chart.title, _WIDE_LETTER) <= chart.width - _LEFT else _EDGE
    return f'<text class="ink" x="{x}" y="16" font-weight="600"{_fitted(chart.title, chart.width - x - _EDGE)}</text>'


def _pixels(text: str, letter: float) -> float:
    return sum(_CJK_LETTER if east_asian_width(one) in "WF" else letter for one in text)


def _fitted(text: str, room: float) -> str:
    """The end of a ``<text`` tag and its text: squeezed where it may be wider than ``room`` pixels, its middle left out
    where that would not do.
    """
    most = MOST_SQUEEZED * room
    pixels = _pixels(text, _WIDE_LETTER)
    if pixels > most:
        half = int(len(text) * most / pixels) // 2 - 1
        text = f"{text[:half]}…{text[-half:]}"
    return f"{_squeezed(text, room)}>{escape(text)}"


def _squeezed(text: str, room: float) -> str:
    wide = _pixels(text, _WIDE_LETTER) > room
    return f' textLength="{room:.0f}" lengthAdjust="spacingAndGlyphs"' if wide else ""


def _shown(x: float, y: float, log_x: bool) -> bool:
    return math.isfinite(x) and math.isfinite(y) and (x > 0 or not log_x)


def _scales(chart: Chart, points: list[tuple[float, float]]) -> tuple[_Scale, _Scale]:
    xs = [x for x, _ in points]
    ys = [y for _, y in points] + [mark.y for mark in chart.marks]
    for line in chart.lines:
        for edge in (line.low, line.high):
            if edge is not None:
                ys += [y for x, y in zip(line.x, edge, strict=True) if _shown(x, y, chart.log_x)]
    low_x, high_x = min(xs), max(xs)
    if low_x == high_x:
        low_x, high_x = (low_x / 2 or low_x, high_x * 2) if chart.log_x else (low_x - 1, high_x + 1)
    low_y, high_y = min(ys), max(ys)
    room = (high_y - low_y) * 0.06 or abs(high_y) * 0.1 or 1.0
    return (
        _Scale(low_x, high_x, _LEFT, chart.width - _RIGHT, chart.log_x),
        _Scale(low_y - room, high_y + room, chart.height - _BOTTOM, _TOP),
    )


def _up_axis(chart: Chart, up: _Scale) -> str:
    right = chart.width - _RIGHT
    parts = []
    for tick in ticks(up.low, up.high, 5):
        y, number = up(tick), short(tick)
        shown = f'text-anchor="end"{_squeezed(number, _LEFT - 20)}>{number}</text>'
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="soft" x="{_LEFT - 6}" y="{y + 4:.1f}" {shown}')
    half = (_TOP + chart.height - _BOTTOM) / 2
    label = _fitted(chart.y_label, chart.height - 2 * _EDGE)
    turned = f'transform="translate(11 {half:.0f}) rotate(-90)" text-anchor="middle"'
    return "".join([*parts, f'<text class="soft" {turned}{label}</text>'])


def _across_axis(chart: Chart, across: _Scale) -> str:
    bottom, right = chart.height - _BOTTOM, chart.width - _RIGHT
    parts = []
    for tick in log_ticks(across.low, across.high) if chart.log_x else ticks(across.low, across.high, 5):
        x = across(tick)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="soft" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{short(tick)}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (_LEFT + right) / 2
    label = _fitted(chart.x_label, right - _LEFT)
    return "".join(
        [*parts, f'<text class="soft" x="{middle:.0f}" y="{bottom + 34}" text-anchor="middle"{label}</text>']
    )


def _mark(mark: Mark, up: _Scale, chart: Chart) -> str:
    y = up(mark.y)
    return f'<line class="mark" x1="{_LEFT}" x2="{chart.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _mark_label(mark: Mark, up: _Scale, chart: Chart) -> str:
    place = f'x="{chart.width - _RIGHT}" y="{up(mark.y) - 4:.1f}" text-anchor="end"'
    return f'<text class="soft over" {place}>{escape(mark.label)}</text>'


def _band(line: Line, across: _Scale, up: _Scale, log_x: bool) -> str:
    if line.low is None or line.high is None:
        return ""
    edge = [
        (across(x), up(low), up(high))
        for x, low, high in zip(line.x, line.low, line.high, strict=True)
        if _shown(x, low, log_x) and math.isfinite(high)
    ]
    if len(edge) < 2:
        return ""
    corners = [(x, high) for x, _, high in edge] + [(x, low) for x, low, _ in reversed(edge)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return f'<polygon points="{path}" fill="{line.color}" fill-opacity="0.16"/>'


def _line(line: Line, across: _Scale, up: _Scale, log_x: bool) -> str:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.x, line.y, strict=True):
        if _shown(x, y, log_x):
            pieces[-1].append((across(x), up(y)))
        else:
            pieces.append([])
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    drawn = "".join(
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in piece)}" fill="none" '
        f'stroke="{line.color}" stroke-width="2"{dash}/>'
        for piece in pieces
        if len(piece) > 1
    )
    if not line.points:
        return drawn
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{line.color}"/>' for piece in pieces for x, y in piece
    )
    return drawn + dots + _hover_targets(line, across, up, log_x)


def _hover_targets(line: Line, across: _Scale, up: _Scale, log_x: bool) -> str:
    """A disc around every point, larger than the point and not seen, with the text that a pointer brings up."""
    return "".join(
        f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="8" fill="transparent"><title>{escape(text)}</title></circle>'
        for x, y, text in zip(line.x, line.y, line.hover or [""] * len(line.x), strict=True)
        if text and _shown(x, y, log_x)
    )


def _grouped(line: Line, drawn: str) -> str:
    """What is drawn of a line under its name, for :func:`e2lm.page.toggles`; without texts for pointers as it is."""
    return f'<g data-line="{escape(line.label, quote=True)}">{drawn}</g>' if drawn and line.hover is not None else drawn


#: Pixels from a point to its name, and how far the name may move up or down to a place of its own.
_BESIDE, _NAME_ROW, _MOST_ROWS = 7, 13, 24


def _point_labels(chart: Chart, across: _Scale, up: _Scale) -> list[str]:
    """The name of every line beside its first point: to its right or left, higher or lower where others stand."""
    points = [
        (across(line.x[0]), up(line.y[0]), line)
        for line in chart.lines
        if line.label and line.x and _shown(line.x[0], line.y[0], chart.log_x)
    ]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y, _ in points]
    parts = []
    for x, y, line in sorted(points, key=lambda point: (point[1], point[0])):
        wide = _pixels(line.label, _LETTER)
        box = _free_box(x, y, wide, taken, chart)
        if box is None:  # a pointer reads it still
            continue
        taken.append(box)
        base = box[3] - 3
        if abs(base - 4 - y) > _NAME_ROW / 2:
            near = box[0] if box[0] > x else box[2]
            parts.append(f'<line class="axis" x1="{x:.1f}" y1="{y:.1f}" x2="{near:.1f}" y2="{base - 4:.1f}"/>')
        parts.append(f'<text class="ink over" x="{box[0]:.1f}" y="{base:.1f}">{escape(line.label)}</text>')
    return parts


_Box = tuple[float, float, float, float]


def _free_box(x: float, y: float, wide: float, taken: Sequence[_Box], chart: Chart) -> _Box | None:
    """The nearest place for a name that nothing else takes; None where there is none."""
    rows = sorted(range(-_MOST_ROWS, _MOST_ROWS + 1), key=abs)
    boxes = [
        (left, y + row * _NAME_ROW - 8, left + wide, y + row * _NAME_ROW + 6)
        for row in rows
        for left in (x + _BESIDE, x - _BESIDE - wide)
    ]
    inside = [
        box
        for box in boxes
        if box[0] >= _LEFT and box[2] <= chart.width - 2 and box[1] >= _TOP - 12 and box[3] <= chart.height - _BOTTOM
    ]
    free = (
        box
        for box in inside
        if not any(box[0] < r and left < box[2] and box[1] < b and top < box[3] for left, top, r, b in taken)
    )
    return next(free, None)


def _legend_left(lines: list[Line], width: int) -> int:
    """Where the legend begins: below the plot, or at the edge where a name needs the room."""
    longest = max((_pixels(line.label, _WIDE_LETTER) for line in lines), default=0.0)
    return _LEFT if _KEY + longest <= width - _LEFT else _EDGE


def _legend_rows(lines: list[Line], width: int) -> list[list[Line]]:
    rows: list[list[Line]] = []
    left, room = _legend_left(lines, width), 0.0
    for line in lines:
        needed = _entry_pixels(line)
        if not rows or room < needed:
            rows.append([])
            room = width - left
        rows[-1].append(line)
        room -= needed
    return rows


def _entry_pixels(line: Line) -> float:
    return _KEY + 11 + _pixels(line.label, _LETTER)


def _legend(lines: list[Line], chart: Chart) -> str:
    parts = []
    left = _legend_left(lines, chart.width)
    for row, members in enumerate(_legend_rows(lines, chart.width)):
        x, y = float(left), chart.height + 6 + row * _LEGEND_ROW
        for line in members:
            dash = ' stroke-dasharray="5 4"' if line.dashed else ""
            room = chart.width - left - _KEY - 1 if len(members) == 1 else math.inf
            entry = (
                f'<line x1="{x:.0f}" x2="{x + 18:.0f}" y1="{y}" y2="{y}" stroke="{line.color}" stroke-width="3"{dash}/>'
                f'<text class="ink" x="{x + _KEY:.0f}" y="{y + 4}"{_fitted(line.label, room)}</text>'
            )
            named = f'<g data-key="{escape(line.label, quote=True)}">{entry}</g>'
            parts.append(entry if line.hover is None else named)
            x += _entry_pixels(line)
    return "".join(parts)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers within the range.

    >>> ticks(0.0, 1.0, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    raw = span / count
    if not raw >= sys.float_info.min:  # nothing, or less than can be computed with
        return [low]
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    digits = 1 - math.floor(math.log10(step))
    return [round(index * step, digits) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within the range, with 2 and 5 times them where that is fewer than four, else round numbers.

    >>> log_ticks(3e4, 2e6)
    [50000.0, 100000.0, 200000.0, 500000.0, 1000000.0, 2000000.0]
    >>> log_ticks(5.3, 8.1)
    [6.0, 7.0, 8.0]
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [10.0**exponent for exponent in exponents if low <= 10.0**exponent <= high]
    if len(tens) >= 4:
        return tens
    finer = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
    finer = [place for place in finer if low * 0.999 <= place <= high * 1.001]
    return finer if len(finer) > 1 else [place for place in ticks(low, high, 5) if place > 0]
