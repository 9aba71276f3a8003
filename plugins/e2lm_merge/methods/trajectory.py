"""Averages along one run (lawa, sma, wma, ema, swa, wsm), at its end or at every checkpoint. A new one: here.

Shape suffix: K checkpoints, oldest first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from e2lm.errors import UserError, nearest_names
from e2lm.merge_strategy import (
    MergedCheckpoint,
    MergeParameter,
    MergeStrategy,
    TrajectoryMerge,
    Value,
    WeightedSum,
    places_in_training,
)
from e2lm.series import Series
from e2lm_merge.methods.linear import combine_linear
from e2lm_merge.numbers.stored import FileNumbers, OpenFiles
from e2lm_merge.plan.parameters import Place, parameter_book, resolved
from e2lm_merge.plan.source import ModelSource, open_checkpoint, same_tensors

if TYPE_CHECKING:
    import torch

#: Which checkpoints take part: the last ``window`` of them (0: all), none within ``min_interval`` steps of the one
#: before it, none older than the last ``fraction`` of training so far. PMA found that early in training long windows
#: hurt (arXiv 2505.12082, figure 5); 0.4 is the upper end of our reading of that figure, 1 switches the limit off.
CHOICE = {"min_interval": MergeParameter(0.0, "[0, inf)"), "fraction": MergeParameter(1.0, "(0, 1]")}


def _window(checkpoints: float) -> dict[str, MergeParameter]:
    return {"window": MergeParameter(checkpoints, "[0, inf)"), **CHOICE, "over": MergeParameter(COUNTED, choices=ALONG)}


#: Decay curves of WSM by name: the learning rate's factor at a share x of the decay, 1 at 0 and 0 at 1.
DECAY_CURVES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: 1 - x,
    "1-sqrt": lambda x: 1 - math.sqrt(x),
    "cosine": lambda x: (1 + math.cos(math.pi * x)) / 2,
    "square": lambda x: (1 - x) ** 2,
    "constant": lambda _: 1.0,
}

#: Weights of a window of so many checkpoints at these steps, oldest first.
WindowWeights = Callable[[int, Mapping[str, Value], Sequence[int]], list[float]]

#: Along what weights are laid: training in steps or in tokens, or the count of checkpoints. The curve of a decay may
#: also begin and end at the checkpoints, where else it reaches half a stretch further at both ends.
ALONG = ("checkpoints", "steps", "tokens")
OVER = ("steps", "tokens", "within", "checkpoints")
COUNTED = "checkpoints"


def shares_of_training(places_K: Sequence[int]) -> list[tuple[float, float]]:
    """Where the part of training that each checkpoint stands for begins and ends, of 0 to 1: halfway to its neighbours.

    The first and the last reach as far outward as inward, so that evenly spaced ones have 1/K each.

    >>> shares_of_training([10, 20, 60])  # 5 to 15, to 40, to 80
    [(0.0, 0.13333333333333333), (0.13333333333333333, 0.4666666666666667), (0.4666666666666667, 1.0)]
    """
    if len(places_K) < 2:
        return [(0.0, 1.0)]
    middles = [(left + right) / 2 for left, right in pairwise(places_K)]
    ends = [2 * places_K[0] - middles[0], *middles, 2 * places_K[-1] - middles[-1]]
    length = ends[-1] - ends[0]
    return [((left - ends[0]) / length, (right - ends[0]) / length) for left, right in pairwise(ends)]


def _counts(count: int, parameters: Mapping[str, Value], places_K: Sequence[int]) -> bool:
    """Whether checkpoints are counted, whatever lies between them."""
    return parameters.get("over", COUNTED) == COUNTED or len(places_K) != count or count < 2


def uniform_weights(count: int, parameters: Mapping[str, Value], places_K: Sequence[int] = ()) -> list[float]:
    """1/K each: LAWA, and PMA's SMA; along training, the part of it that each stands for.

    >>> [round(weight, 3) for weight in uniform_weights(3, {"over": "steps"}, [10, 20, 60])]
    [0.133, 0.333, 0.533]
    """
    if _counts(count, parameters, places_K):
        return [1 / count] * count
    return [end - begin for begin, end in shares_of_training(places_K)]


def rising_weights(count: int, parameters: Mapping[str, Value], places_K: Sequence[int] = ()) -> list[float]:
    """wᵢ ∝ i: PMA's WMA; along training, the part that each stands for times how far it reaches.

    >>> rising_weights(2, {}) == [1 / 3, 2 / 3] == rising_weights(2, {"over": "steps"}, [10, 20])
    True
    """
    if _counts(count, parameters, places_K):
        rising = [float(index) for index in range(1, count + 1)]
    else:
        rising = [(end - begin) * end for begin, end in shares_of_training(places_K)]
    return [one / sum(rising) for one in rising]


def exponential_weights(count: int, parameters: Mapping[str, Value], places_K: Sequence[int] = ()) -> list[float]:
    """α(1−α)^(K−i), and (1−α)^(K−1) for the first: what Mᵢ = αθᵢ + (1−α)Mᵢ₋₁ from M₁ = θ₁ comes to.

    Along training 1−α counts for a stretch of the mean length in the window, and for others to the power of theirs.

    >>> exponential_weights(3, {"alpha": 0.5}) == exponential_weights(3, {"alpha": 0.5, "over": "steps"}, [1, 2, 3])
    True
    """
    alpha = float(parameters["alpha"])
    if _counts(count, parameters, places_K):
        return [(1 - alpha) ** (count - 1)] + [alpha * (1 - alpha) ** (count - index) for index in range(2, count + 1)]
    mean = (places_K[-1] - places_K[0]) / (count - 1)
    weights = [1.0]
    for left, right in pairwise(places_K):
        kept = (1 - alpha) ** ((right - left) / mean)
        weights = [weight * kept for weight in weights] + [1 - kept]
    return weights


def stretches(count: int, steps_K: Sequence[int], over: str) -> list[float]:
    """Where the K−1 stretches of training between checkpoints lie in the decay: 0 at its start, 1 at its end.

    ``checkpoints``: at j/K, as the WSM paper has it. ``steps``, and ``tokens`` where these are given instead: at the
    middle of each stretch, in a decay that begins half a stretch before the oldest checkpoint and ends half a stretch
    after the newest; where checkpoints are evenly spaced that is j/K too. ``within``: the same in a decay from the
    oldest checkpoint to the newest.

    >>> [round(place, 3) for place in stretches(5, [100, 200, 400, 800, 1200], "within")]
    [0.045, 0.182, 0.455, 0.818]
    >>> stretches(4, [10, 20, 30, 40], "steps") == stretches(4, [], "checkpoints") == [0.25, 0.5, 0.75]
    True
    """
    if over == COUNTED or len(steps_K) != count or count < 2:
        return [index / count for index in range(1, count)]
    if over != "within":
        return [end for _, end in shares_of_training(steps_K)[:-1]]
    begin, length = steps_K[0], steps_K[-1] - steps_K[0]
    return [((left + right) / 2 - begin) / length for left, right in pairwise(steps_K)]


def decay_curve(
    text: str, count: int, window: int = 0, steps_K: Sequence[int] = (), over: str = "checkpoints"
) -> list[float]:
    """w₁ … w_(K−1): a named curve where :func:`stretches` says, or numbers written ``0.9/0.5/0.1``.

    Numbers are one less than checkpoints. Where there are fewer checkpoints, as at the start of a run, the last numbers
    count: those of the last stretches of training. Too few numbers, or more than a ``window`` (0: none) can ever use,
    are a :class:`UserError`.

    >>> decay_curve("0.9/0.5/0.1", 3)
    [0.5, 0.1]
    """
    if text in DECAY_CURVES:
        return [DECAY_CURVES[text](place) for place in stretches(count, steps_K, over)]
    try:
        points = [float(part) for part in text.split("/")]
    except ValueError:
        raise UserError(
            f"curve: found {text!r}. {nearest_names(text, DECAY_CURVES)} Or give numbers such as 0.9/0.5/0.1"
        ) from None
    if not all(map(math.isfinite, points)):
        raise UserError(f"curve: found {text!r}; expected numbers from 1 down to 0, such as 0.9/0.5/0.1")
    own = len(points) + 1
    if len(points) < count - 1:
        raise UserError(
            f"curve: {count} checkpoints need {count - 1} numbers, found {len(points)} in {text!r}; "
            f"set window to {own} or give more numbers"
        )
    if 0 < window < own:
        raise UserError(
            f"curve: {len(points)} numbers are for {own} checkpoints, window is {window}; set window to {own} or give "
            f"{window - 1} numbers"
        )
    return points[own - count :]


def wsm_weights(count: int, parameters: Mapping[str, Value], steps_K: Sequence[int] = ()) -> list[float]:
    """c₀ = 1 − w₁, cⱼ = wⱼ − wⱼ₊₁, c_k = w_k: merging by c equals training with the decay w (WSM, theorem 3.1).

    ``count`` checkpoints θ₀ … θ_k have k = count − 1 stretches of training between them, and wⱼ decays the j-th.

    >>> [round(c, 3) for c in wsm_weights(10, {"curve": "1-sqrt"})[:5]]
    [0.316, 0.131, 0.101, 0.085, 0.075]
    """
    window, over = int(float(parameters.get("window", 0))), str(parameters.get("over", OVER[0]))
    decay = [1.0, *decay_curve(str(parameters["curve"]), count, window, steps_K, over), 0.0]
    return [decay[index] - decay[index + 1] for index in range(count)]


def taken_steps(steps: Sequence[int], parameters: Mapping[str, Value]) -> list[int]:
    """Those of ``steps`` that lie at least ``min_interval`` apart, the first one always."""
    interval = float(parameters["min_interval"])
    taken: list[int] = []
    for step in steps:
        if not taken or step - taken[-1] >= interval:
            taken.append(step)
    return taken


def window_of(taken: Sequence[int], parameters: Mapping[str, Value]) -> list[int]:
    """The part of ``taken`` that is averaged at its last step."""
    oldest = (1 - float(parameters["fraction"])) * taken[-1]
    window = int(float(parameters["window"])) or len(taken)
    return [step for step in taken[-window:] if step >= oldest]


def trajectory_weights(
    weights_of: WindowWeights, places_K: Sequence[int], parameters: Mapping[str, Value]
) -> tuple[float, ...]:
    """One weight per checkpoint, 0 outside the window; they add up to 1. Places are steps, or tokens over these."""
    window = window_of(taken_steps(places_K, parameters), parameters)
    by_place = dict(zip(window, weights_of(len(window), parameters, window), strict=True))
    return tuple(by_place.get(place, 0.0) for place in places_K)


class _Held:
    """Checkpoints of the window, each read from disk once, and the running sum of those in it, in float64."""

    def __init__(self, weights_of: WindowWeights, parameters: Mapping[str, Value]) -> None:
        self.weights_of = weights_of
        self.parameters = parameters
        self.uniform = weights_of is uniform_weights and parameters["over"] == COUNTED
        self.tensors: deque[tuple[int, dict[str, torch.Tensor]]] = deque()
        self.sums: dict[str, torch.Tensor] = {}

    def add(self, place: int, tensors: dict[str, torch.Tensor], window: Sequence[int]) -> None:
        self.tensors.append((place, tensors))
        self._sum(tensors, 1)
        while self.tensors[0][0] < window[0]:
            self._sum(self.tensors.popleft()[1], -1)

    def _sum(self, tensors: dict[str, torch.Tensor], sign: int) -> None:
        import torch

        if not self.uniform:
            return
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                total = self.sums.setdefault(name, torch.zeros(tensor.shape, dtype=torch.float64))
                total.add_(tensor, alpha=sign)

    def merged(self) -> dict[str, torch.Tensor]:
        import torch

        newest = self.tensors[-1][1]
        weights = self.weights_of(len(self.tensors), self.parameters, [place for place, _ in self.tensors])
        merged = {}
        for name, tensor in newest.items():
            if not tensor.is_floating_point():
                merged[name] = tensor.clone()
            elif self.uniform:
                merged[name] = (self.sums[name] / len(self.tensors)).to(tensor.dtype)
            else:
                total = torch.zeros(tensor.shape, dtype=torch.float64)
                for weight, (_, held) in zip(weights, self.tensors, strict=True):
                    total.add_(held[name], alpha=weight)
                merged[name] = total.to(tensor.dtype)
        return merged


class _Recursive:
    """Mᵢ = αθᵢ + (1−α)Mᵢ₋₁ in float64, for an exponential average without a window."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.means: dict[str, torch.Tensor] = {}

    def add(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        import torch

        for name, tensor in tensors.items():
            if name not in self.means:
                self.means[name] = tensor.to(torch.float64) if tensor.is_floating_point() else tensor.clone()
            elif tensor.is_floating_point():
                self.means[name].mul_(1 - self.alpha).add_(tensor, alpha=self.alpha)
        return {name: self.means[name].to(tensor.dtype) for name, tensor in tensors.items()}


def _along(
    numbers: MergeStrategy, weights_of: WindowWeights, series: Series, parameters: Mapping[str, Value]
) -> Iterator[MergedCheckpoint]:
    """The average at every checkpoint of ``series``, each checkpoint read once: (step, tensors by name), step rising.

    At its first checkpoints a window holds what there is. Uniform windows slide by one addition and one subtraction
    in float64, so their cost does not grow with the window; the checkpoints of the window stay in memory as stored.
    Tensors come in the type they are stored in. Unknown ``parameters`` are a :class:`UserError`, and so are checkpoints
    of different shapes.
    """
    book = parameter_book(dict(parameters), f"merge {numbers.name}", numbers, of_model=False)
    settled = resolved(numbers.defaults, [book], Place("", 0.0))
    return _walk(weights_of, series, places_in_training(numbers.name, series.checkpoints, settled), settled)


def _walk(
    weights_of: WindowWeights, series: Series, places_K: Sequence[int], parameters: Mapping[str, Value]
) -> Iterator[MergedCheckpoint]:
    whole = not parameters["window"] and parameters["fraction"] == 1 and parameters["over"] == COUNTED
    endless = weights_of is exponential_weights and whole
    recursive = _Recursive(float(parameters["alpha"])) if endless else None
    held = _Held(weights_of, parameters)
    taken: list[int] = []
    first: ModelSource | None = None
    for checkpoint, place in zip(series.checkpoints, places_K, strict=True):
        if taken and place - taken[-1] < float(parameters["min_interval"]):
            continue
        taken.append(place)
        model = open_checkpoint(checkpoint)
        first = _same_shapes(first, model)
        tensors = read_tensors(model)
        if recursive is not None:
            yield checkpoint.step, recursive.add(tensors)
            continue
        held.add(place, tensors, window_of(taken, parameters))
        yield checkpoint.step, held.merged()


def read_tensors(model: ModelSource) -> dict[str, torch.Tensor]:
    """Every tensor of a model, as stored; a :class:`UserError` names one that is not finite."""
    import torch

    from e2lm_merge.numbers.torch_tensors import TORCH_TYPES, tensor_bytes

    files = OpenFiles()
    found = {}
    try:
        for name, stored in sorted(model.index.tensors.items()):
            if stored.dtype not in TORCH_TYPES:
                raise UserError(f"{model.label}: tensor {name!r} is stored as {stored.dtype}, which is not merged")
            tensor = torch.empty(stored.shape, dtype=TORCH_TYPES[stored.dtype])
            FileNumbers(model.label, stored, files).read(0, tensor_bytes(tensor))
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise UserError(f"{model.label}: tensor {name!r} holds NaN or infinity; leave this checkpoint out")
            found[name] = tensor
    finally:
        files.close()
    return found


def _same_shapes(first: ModelSource | None, model: ModelSource) -> ModelSource:
    if first is None:
        return model
    same_tensors([first, model], frozenset())
    for name, stored in first.index.tensors.items():
        if model.index.tensors[name].shape != stored.shape:
            raise UserError(
                f"{model.label}: tensor {name!r} has shape {list(model.index.tensors[name].shape)}, "
                f"{first.label} has {list(stored.shape)}; a run's checkpoints must be of one model"
            )
    return first


def trajectory_strategies() -> list[MergeStrategy]:
    """lawa, sma, wma, ema, swa and wsm."""
    alpha = {**_window(0), "alpha": MergeParameter(0.2, "(0, 1]")}
    curve = {**_window(10), "curve": MergeParameter("1-sqrt"), "over": MergeParameter(OVER[0], choices=OVER)}
    return [
        _strategy("lawa", "Mean of the last checkpoints.", "(1/k) Σ θ over the last k", uniform_weights,
                  _window(5), "Kaddour 2022, arXiv 2209.14981; Sanyal et al. 2023, arXiv 2306.03241 (k = 5)"),
        _strategy("sma", "Simple moving average: PMA's name for the mean of the window.", "(1/N) Σ θᵢ",
                  uniform_weights, _window(10), "Li et al. 2025 (PMA), arXiv 2505.12082"),
        _strategy("wma", "Weighted moving average: later checkpoints count more; PMA's choice early in training.",
                  "Σ i·θᵢ / Σ i", rising_weights, _window(5), "Li et al. 2025 (PMA), arXiv 2505.12082"),
        _strategy("ema", "Exponential moving average over all checkpoints, or over a window.",
                  "Mᵢ = αθᵢ + (1−α)Mᵢ₋₁, M₁ = θ₁", exponential_weights, alpha,
                  "Li et al. 2025 (PMA), arXiv 2505.12082"),
        _strategy("swa", "Stochastic weight averaging: mean of all checkpoints from the given ones on.",
                  "θ̄ₙ₊₁ = (nθ̄ₙ + θ)/(n+1)", uniform_weights, _window(0), "Izmailov et al. 2018, arXiv 1803.05407"),
        _strategy("wsm", "Warmup-stable-merge: the average that stands for a learning-rate decay.",
                  "Σ cⱼθⱼ, c₀ = 1−w₁, cⱼ = wⱼ−wⱼ₊₁, c_k = w_k", wsm_weights, curve,
                  "Tian et al. 2025 (WSM), arXiv 2507.17634, theorem 3.1"),
    ]  # fmt: skip


def _strategy(
    name: str,
    description: str,
    formula: str,
    weights_of: WindowWeights,
    parameters: dict[str, MergeParameter],
    source: str,
) -> MergeStrategy:
    facts: dict[str, Any] = {"formula": formula, "source": source, "ordered": True, "parameters": parameters}
    mean = WeightedSum(name, description, combine_linear, **facts)
    return TrajectoryMerge(
        name,
        description,
        weigh=partial(trajectory_weights, weights_of),
        along=partial(_along, mean, weights_of),
        numbers=mean,
        **facts,
    )
