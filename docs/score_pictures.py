"""Draws the pictures of docs/scores.md. The same code gives the same bytes.

    python docs/score_pictures.py

Curves are made up; the numbers in the legends are what the scores of ``e2lm signal`` say of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ScoreValue, SignalScore
from e2lm.chart import CATEGORIES, Chart, Line, Mark, svg
from e2lm.plugin_manager import plugin_manager

Values = NDArray[np.float64]

FOLDER = Path(__file__).with_name("pictures")

CHECKPOINTS = 14
TOKENS_K = np.linspace(1e9, 14e9, CHECKPOINTS)
CHANCE = 0.25
ITEMS = 1000
#: Published scores of the field look at tokens beyond these, so the pictures of late training go on to 1,000 B.
LATE_TOKENS_K = np.linspace(50e9, 1000e9, 20)

BLUE, ORANGE, GREEN, PINK = CATEGORIES[:4]


def curve(values_K: Values, series: str = "run", tokens_K: Values = TOKENS_K, items: int = ITEMS) -> Curve:
    """An accuracy curve of ``items`` items with chance 0.25."""
    return Curve(
        series=series,
        task="task",
        metric="acc",
        steps_K=np.arange(1, len(values_K) + 1) * 1000,
        tokens_K=tokens_K,
        values_K=values_K,
        stderr_K=np.sqrt(values_K * (1 - values_K) / items),
        n_items_K=np.full(len(values_K), items),
        chance=CHANCE,
    )


def scored(name: str, *curves: Curve) -> ScoreValue:
    """What the registered score ``name`` says of one curve, or of a family."""
    score = plugin_manager().find("e2lm_register_signal_scores", SignalScore, name, "signal score")
    rng = np.random.default_rng(0)
    value: ScoreValue = score.score(curves if score.scope == "family" else curves[0], rng)
    return value


def number(name: str, *curves: Curve, digits: int = 2) -> str:
    """The value as the legend shows it."""
    value = scored(name, *curves).value
    return "undefined" if value is None else f"{value:.{digits}f}"


def saturating(top: float, speed: float = 3.0, count: int = CHECKPOINTS) -> Values:
    """From chance towards ``top``, fast first."""
    share_K = np.linspace(0.0, 1.0, count)
    return np.asarray(CHANCE + (top - CHANCE) * (1 - np.exp(-speed * share_K)) / (1 - np.exp(-speed)))


def noise(seed: int, size: float, count: int = CHECKPOINTS) -> Values:
    """Independent noise of single checkpoints."""
    return np.random.default_rng(seed).normal(0.0, size, count)


def line(label: str, shown: Curve, color: str, band: bool = False) -> Line:
    """The curve over billions of tokens, with one standard error either way if asked."""
    low = list(shown.values_K - shown.stderr_K) if band else None
    high = list(shown.values_K + shown.stderr_K) if band else None
    return Line(label, list(shown.tokens_K / 1e9), list(shown.values_K), low, high, color)


def upright(label: str, x: float, low: float, high: float, color: str = "#818b98") -> Line:
    """A dashed vertical line."""
    return Line(label, [x, x], [low, high], color=color, points=False, dashed=True)


def chart(title: str, lines: Sequence[Line], description: str, marks: Sequence[Mark] = ()) -> Chart:
    """A chart over tokens in the size that all of these have."""
    return Chart(title, "tokens (billions)", "accuracy", lines, marks, description=description, width=560, height=300)


AT_CHANCE = (Mark("chance", CHANCE),)


def signal_quality() -> Chart:
    """A clear rise, a noisy one and none."""
    clear = curve(saturating(0.55) + noise(1, 0.006))
    noisy = curve(saturating(0.31) + noise(5, 0.02))
    flat = curve(CHANCE + 0.01 + noise(3, 0.012))
    lines = []
    for word, shown, color in (("clear", clear, BLUE), ("noisy", noisy, ORANGE), ("no rise", flat, PINK)):
        found = scored("signal_quality", shown)
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        label = f"{word}: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}], p {found.p:.3f}"
        lines.append(line(label, shown, color, band=True))
    return chart("signal_quality of three curves", lines, "A clear rise scores near 1, no rise near 0", AT_CHANCE)


def p_value() -> Chart:
    """A drift that happens to end high, and a trend."""
    walk = curve(0.30 + np.cumsum(noise(38, 0.014)))
    trend = curve(np.linspace(0.30, walk.values_K[-1], CHECKPOINTS) + noise(4, 0.004))
    lines = []
    for word, shown, color in (("random walk", walk, ORANGE), ("trend", trend, BLUE)):
        found = scored("signal_quality", shown)
        lines.append(line(f"{word}: value {found.value:.2f}, p {found.p:.4f}", shown, color))
    return chart("p: would noise alone rise like this?", lines, "A random walk and a trend of the same gain")


def official() -> Chart:
    """What the official formula does not see: the size of the rise and of the noise."""
    tiny = curve(np.linspace(0.3000, 0.3001, CHECKPOINTS))
    falling = curve(np.linspace(0.42, 0.33, CHECKPOINTS))
    rising = curve(saturating(0.5) + noise(6, 0.012))
    lines = [
        line(f"{word}: official {number('e2lmc_sq', shown)}, ours {number('signal_quality', shown)}", shown, color)
        for word, shown, color in (
            ("noisy rise to .50", rising, BLUE), ("falls", falling, PINK), ("rises by .0001", tiny, ORANGE)
        )
    ]  # fmt: skip
    return chart("e2lmc_sq and signal_quality of the same curves", lines, "The official score sees order, not size")


def gains() -> Chart:
    """The means of the first and of the last quarter."""
    shown = curve(saturating(0.42) + noise(12, 0.012))
    quarter = CHECKPOINTS // 4
    x = TOKENS_K / 1e9
    first, last = float(shown.values_K[:quarter].mean()), float(shown.values_K[-quarter:].mean())
    lines = [
        line(
            f"gain_over_noise {number('gain_over_noise', shown, digits=1)}, "
            f"gain_over_chance {number('gain_over_chance', shown, digits=1)}",
            shown, BLUE,
        ),
        Line("mean of the first quarter", [x[0], x[quarter - 1]], [first, first], color=ORANGE, points=False),
        Line("mean of the last quarter", [x[-quarter], x[-1]], [last, last], color=GREEN, points=False),
    ]  # fmt: skip
    return chart("How far it came", lines, "Gain between the first and the last quarter of a curve", AT_CHANCE)


def _family() -> list[Curve]:
    """Four runs; two of them change places after a third of the training."""
    count = 40
    tokens_K = np.linspace(1e9, 100e9, count)
    tops = ((0.62, 3.5), (0.55, 5.0), (0.46, 3.0), (0.38, 8.0))
    return [
        curve(saturating(top, speed, count) + noise(20 + index, 0.004, count), f"run {index + 1}", tokens_K)
        for index, (top, speed) in enumerate(tops)
    ]


def decisions() -> Chart:
    """Which run wins, at a tenth of the training and at its end."""
    family = _family()
    lines = [line(one.series, one, color) for one, color in zip(family, CATEGORIES, strict=False)]
    settled = scored("settling_share", *family).value
    assert settled is not None
    lines += [
        upright(f"10 %: decision_accuracy {number('decision_accuracy', *family)}", 10.0, CHANCE, 0.62),
        upright(f"settling_share {settled:.2f}", 100.0 * settled, CHANCE, 0.62, GREEN),
    ]
    return chart("When does the order of runs settle?", lines, "Four runs, two of which change places")


def signal_and_noise() -> Chart:
    """Spread of runs against spread of checkpoints, on two benchmarks."""
    shares_K = np.linspace(0.0, 1.0, CHECKPOINTS)
    quiet = [curve(CHANCE + top * shares_K + noise(30 + i, 0.004), f"q{i}") for i, top in enumerate((0.2, 0.16, 0.12))]
    loud = [curve(0.6 + top * shares_K + noise(40 + i, 0.02), f"l{i}") for i, top in enumerate((0.2, 0.18, 0.16))]
    lines = [
        line(f"{word}, three runs: sn_snr {number('sn_snr', *family, digits=1)}" if not index else "", one, color)
        for word, family, color in (("runs apart, little noise", quiet, BLUE), ("runs close, much noise", loud, ORANGE))
        for index, one in enumerate(family)
    ]
    return chart("Signal over noise", lines, "Runs far apart with little noise, and close with much")


def way() -> Chart:
    """Way walked over way gained."""
    smooth = curve(saturating(0.45, 2.0))
    jagged = curve(saturating(0.45, 2.0) + np.where(np.arange(CHECKPOINTS) % 2, 0.025, -0.025))
    lines = [
        line(
            f"{word}: fluid_total_variation {number('fluid_total_variation', shown)}, "
            f"saturation {number('fluid_saturation', shown)}",
            shown, color,
        )
        for word, shown, color in (("smooth", smooth, BLUE), ("jagged", jagged, ORANGE))
    ]  # fmt: skip
    return chart("Way walked over way gained", lines, "A smooth curve and a jagged one of the same gain")


def consistency() -> Chart:
    """Do late rankings keep the early one?"""
    tokens_B = LATE_TOKENS_K / 1e9
    first = curve(0.30 + 0.16 * (1 - np.exp(-tokens_B / 200)), "A", LATE_TOKENS_K)
    second = curve(0.28 + 0.24 * (1 - np.exp(-tokens_B / 600)), "B", LATE_TOKENS_K)
    lines = [
        line("model A", first, BLUE),
        line("model B", second, ORANGE),
        upright(f"200 B tokens: e2lmc_rc {number('e2lmc_rc', first, second)} after it", 200.0, 0.3, 0.5),
    ]
    return chart("Is the early ranking kept?", lines, "Two models that change places after 200 billion tokens")


def science() -> Chart:
    """Science data against web data."""
    s, c = curve(saturating(0.45) + noise(51, 0.004), "science"), curve(saturating(0.37) + noise(52, 0.004), "web")
    share = (s.values_K[-1] - c.values_K[-1]) / (s.values_K[-1] - CHANCE)
    lines = [line("trained on science", s, BLUE), line("trained on web text", c, ORANGE)]
    title = f"e2lmc_cs {share:.2f}: lead at the end, over science's lead over chance"
    return chart(title, lines, "The science run ends above the web run", AT_CHANCE)


PICTURES = {
    "signal-quality": signal_quality,
    "p-value": p_value,
    "official": official,
    "gains": gains,
    "decisions": decisions,
    "signal-and-noise": signal_and_noise,
    "way": way,
    "consistency": consistency,
    "science": science,
}


def drawn(name: str) -> str:
    """The text of one picture."""
    return svg(PICTURES[name](), standalone=True) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for picture in PICTURES:
        (FOLDER / f"{picture}.svg").write_text(drawn(picture), encoding="utf-8")
