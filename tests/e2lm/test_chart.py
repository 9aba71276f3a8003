"""Charts are well-formed, self-contained, the same for the same data, and draw nothing that is not there."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm.chart import RAMP, Chart, Line, Mark, log_ticks, ramp, svg, ticks

NUMBERS = st.floats(-1e9, 1e9) | st.just(math.nan) | st.just(math.inf)
PLACES = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=8)


def chart(*lines: Line, **options: object) -> Chart:
    return Chart("A <title> & more", "x", "y", lines, **options)  # type: ignore[arg-type]


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


@given(PLACES, st.booleans(), st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=10))
def test_any_data_give_a_well_formed_chart_with_finite_places(
    places: list[tuple[float, float]], log_x: bool, label: str
) -> None:
    line = Line(label, [x for x, _ in places], [y for _, y in places], [y for _, y in places], [y for _, y in places])
    printed = svg(chart(line, marks=(Mark("chance", 0.25),), log_x=log_x))
    element = parsed(printed)
    assert element.get("aria-label") == "A <title> & more"
    numbers = [value for circle in element.iter("circle") for value in (circle.get("cx"), circle.get("cy"))]
    assert all(math.isfinite(float(value or "nan")) for value in numbers)
    shown = [x for x, y in places if math.isfinite(x) and math.isfinite(y) and (x > 0 or not log_x)]
    assert len(numbers) == 2 * len(shown)
    assert printed == svg(chart(line, marks=(Mark("chance", 0.25),), log_x=log_x))


def test_a_chart_asks_for_nothing_from_elsewhere() -> None:
    printed = svg(chart(Line("a", [1, 2], [1, 2])), standalone=True)
    assert parsed(printed).tag == "{http://www.w3.org/2000/svg}svg"
    assert printed.count("http") == 1
    assert not any(word in printed for word in ("<script", "href", "url(", "@import"))


def test_without_points_it_says_so() -> None:
    assert "nothing to show" in svg(chart())
    assert "nothing to show" in svg(chart(Line("a", [math.nan], [1.0])))


def test_a_point_that_is_not_finite_leaves_a_gap() -> None:
    element = parsed(svg(chart(Line("a", [1, 2, 3, 4, 5], [1, 2, math.nan, 4, 5]))))
    pieces = [str(line.get("points")).split() for line in element.iter("polyline")]
    assert [len(piece) for piece in pieces] == [2, 2]
    assert len(list(element.iter("circle"))) == 4


def test_a_single_point_is_a_dot_in_the_middle() -> None:
    element = parsed(svg(chart(Line("a", [7.0], [0.5]))))
    (dot,) = element.iter("circle")
    assert float(str(dot.get("cx"))) == pytest.approx((58 + 420 - 14) / 2)
    assert list(element.iter("polyline")) == []


def test_places_rise_with_the_data_and_stay_inside() -> None:
    element = parsed(svg(chart(Line("a", [1, 10, 100], [0.1, 0.5, 0.2]), log_x=True)))
    dots = [(float(str(dot.get("cx"))), float(str(dot.get("cy")))) for dot in element.iter("circle")]
    (left, low), (middle, high), (right, between) = dots
    assert middle - left == pytest.approx(right - middle, abs=0.2)
    assert low > between > high
    assert all(58 <= x <= 406 and 34 <= y <= 236 for x, y in dots)


def test_a_band_widens_the_range_so_that_it_is_seen_whole() -> None:
    element = parsed(svg(chart(Line("a", [1, 2], [1, 1], low=[-9, -9], high=[9, 9]))))
    (band,) = element.iter("polygon")
    ys = [float(corner.split(",")[1]) for corner in str(band.get("points")).split()]
    assert all(34 <= y <= 236 for y in ys)


def test_many_names_in_the_legend_take_more_rows_and_make_the_chart_higher() -> None:
    few, many = (
        parsed(svg(chart(*(Line(f"a line with a name {n}", [1, 2], [1, 2]) for n in range(count))))) for count in (1, 9)
    )
    assert float(str(many.get("height"))) > float(str(few.get("height")))
    texts = [text.text for text in many.iter("text")]
    assert all(f"a line with a name {n}" in texts for n in range(9))


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        svg(chart(Line("a", [1, 2, 3], [1, 2])))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_rising_and_within_the_range(low: float, span: float) -> None:
    places = ticks(low, low + span, 5)
    assert 2 <= len(places) <= 12
    assert places == sorted(set(places))
    assert all(low - span * 1e-6 <= place <= low + span * (1 + 1e-6) for place in places)


@given(st.floats(1e-6, 1e9), st.floats(1.5, 1e6))
def test_log_ticks_rise_within_the_range(low: float, factor: float) -> None:
    places = log_ticks(low, low * factor)
    assert len(places) >= 2  # an axis without numbers cannot be read
    assert places == sorted(set(places))
    assert all(low * 0.999 <= place <= low * factor * 1.001 for place in places)


@pytest.mark.parametrize("count", range(6))
def test_a_ramp_has_as_many_colours_as_asked_for(count: int) -> None:
    assert len(set(ramp(count))) == count


def test_a_text_that_is_too_long_is_squeezed_into_its_place_and_a_much_too_long_one_loses_its_middle() -> None:
    def title(text: str) -> ElementTree.Element:
        drawn = svg(Chart(text, "x", "y", [Line("a", [1, 2], [1, 2])]))
        return next(one for one in parsed(drawn).iter("text") if one.get("font-weight"))

    assert (title("short").get("x"), title("short").get("textLength")) == ("58", None)
    assert (title("w" * 52).get("x"), title("w" * 52).get("textLength")) == ("6", None)
    assert (title("w" * 70).get("x"), title("w" * 70).get("textLength")) == ("6", "408")
    cut = str(title("a" * 100 + "b" * 100).text)
    assert re.fullmatch(r"(a+)…(b+)", cut)
    assert 60 < len(cut) < 90
    assert float(str(title("文" * 40).get("textLength"))) == 408


def test_the_name_of_a_mark_stands_over_bands_and_lines() -> None:
    drawn = svg(chart(Line("a", [1, 2], [0, 1], low=[0, 0], high=[1, 1]), marks=(Mark("chance", 0.5),)))
    assert drawn.index(">chance<") > drawn.index("<circle") > drawn.index("<polygon") > drawn.index('class="mark"')


def luminance(color: str) -> float:
    """Relative, of WCAG 2.2."""
    shares = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_on_dark_paper_every_blue_can_be_seen_and_the_largest_stands_out_most() -> None:
    drawn = svg(chart(Line("a", [1, 2], [0, 1])))
    dark = [re.search(rf'\[stroke="{blue}"\] {{ stroke: (#\w+);', drawn) for blue in RAMP]
    levels = [luminance(found[1]) for found in dark if found]
    assert len(levels) == len(RAMP)
    contrasts = [(level + 0.05) / (luminance("#0d1117") + 0.05) for level in levels]
    assert contrasts == sorted(contrasts)
    assert contrasts[0] > 3
