"""What a merge strategy takes and gives.

The engine reads the same-named tensor of every model, turns it into float32 and asks the strategy for the merged one.
The ten-line strategy sees whole tensors (``scope="tensor"``) and needs nothing but ``merge``. One that works number by
number (``scope="element"``) or row by row (``scope="row"``) is handed blocks instead, so that memory does not grow with
the model; where it needs something of the whole tensor first (a norm, a threshold) it gives ``look``. One that comes to
a weighted sum of the inputs (``scope="sum"``) gives ``combine``, the weights, and never sees a number.

Shape suffixes: M models, K checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from e2lm.errors import E2LMError, UserError
from e2lm.kind import checked_name

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from e2lm.series import Series

Value = float | bool | str
Scope = Literal["sum", "element", "row", "tensor"]


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """The same-named tensor of every model to merge, in float32, and how it is to be merged.

    ``weights`` has one number per model and ``model_parameters`` the other numbers of each model; ``parameters`` holds
    the numbers that all share. ``tensors`` and ``base`` are the strategy's own: it may overwrite them. Of a strategy
    that works in blocks they hold one block, whose first number is number ``start`` of the flattened tensor of shape
    ``shape``; ``found`` is then what ``look`` gave. ``layer`` counts from 0 and is None outside the layers.
    ``with_base`` says whether there is a base, also where no numbers are given.
    """

    name: str
    tensors: tuple[torch.Tensor, ...]
    base: torch.Tensor | None
    weights: tuple[float, ...]
    parameters: Mapping[str, Value] = field(default_factory=dict)
    seed: int = 0
    models: tuple[str, ...] = ()
    model_parameters: tuple[Mapping[str, Value], ...] = ()
    shape: tuple[int, ...] = ()
    start: int = 0
    found: Any = None
    layer: int | None = None
    layers: int = 0
    with_base: bool = False

    def number(self, name: str) -> float:
        """The shared parameter ``name`` as a number."""
        return float(self.parameters[name])

    def numbers(self, name: str) -> tuple[float, ...]:
        """The parameter ``name`` of every model as numbers, M of them."""
        return tuple(float(own[name]) for own in self.model_parameters)


@dataclass(frozen=True, slots=True)
class Combination:
    """A merged tensor as a sum of the inputs θᵢ and the base θ₀.

    ``sum``: Σ cᵢθᵢ + c₀θ₀. ``mean``: the same for coefficients that add up to 1, computed so that equal inputs come out
    to the last bit. ``deltas``: θ₀ + Σ cᵢ(θᵢ − θ₀). ``wide`` adds up in float64.
    """

    coefficients: tuple[float, ...]
    base: float = 0.0
    form: Literal["sum", "mean", "deltas"] = "sum"
    wide: bool = False


class TensorBlocks(Protocol):
    """The blocks of one tensor, in order; each walk over them reads the weights once."""

    @property
    def group(self) -> TensorGroup:
        """Everything about the tensor but its numbers: ``tensors`` is empty."""
        ...

    def __iter__(self) -> Iterator[TensorGroup]: ...

    def sample(self, part: int) -> Iterator[TensorGroup]:
        """The first ``1/part`` of every block: a cheap first look."""
        ...


#: What the merged trajectory of a run is made of: a step, and the averaged weights there by tensor name.
MergedCheckpoint = tuple[int, dict[str, "torch.Tensor"]]


@dataclass(frozen=True, slots=True)
class MergeStrategy:
    """A named merge: ``merge(group)`` gives the merged tensor, of the shape of the inputs, in float32.

    With ``scope="sum"``, ``combine(group, products)`` gives a :class:`Combination` instead. ``products`` holds inner
    products where ``products_of(group)`` says of what: of the ``inputs`` (models in order, then the base) or of the
    ``deltas`` from the base; else it is None.

    ``defaults`` are the shared parameters and ``model_defaults`` those that each model has (``weight`` is always among
    them unless ``weigh`` is given); their types are the types allowed, and ``ranges`` bounds numbers: ``"(0, 1]"``.
    ``inputs`` is the least and the greatest number of models beside the base. ``look_at_all`` sees every tensor once
    before any is merged; what it gives is ``look``'s second argument.

    A strategy along a trajectory gives ``weigh(steps_K, parameters)``, the weights of checkpoints in order of training,
    and ``along(series, parameters)``, the averaged checkpoints of a run in one pass over its weights. ``needs_score``
    says that weights are found by scoring candidates.
    """

    name: str
    description: str
    merge: Callable[[TensorGroup], torch.Tensor] | None = None
    needs_base: bool = False
    defaults: Mapping[str, Value] = field(default_factory=dict)
    source: str = ""
    formula: str = ""
    takes_base: bool = False
    ordered: bool = False
    scope: Scope | Callable[[Mapping[str, Value]], Scope] = "tensor"
    inputs: tuple[int, int | None] = (1, None)
    model_defaults: Mapping[str, Value] = field(default_factory=dict)
    ranges: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    combine: Callable[[TensorGroup, NDArray[np.float64] | None], Combination] | None = None
    products_of: Callable[[TensorGroup], Literal["inputs", "deltas"] | None] | None = None
    check: Callable[[TensorGroup], None] | None = None
    look: Callable[[TensorBlocks, Any], Any] | None = None
    look_at_all: Callable[[Iterable[TensorBlocks]], Any] | None = None
    weigh: Callable[[Sequence[int], Mapping[str, Value]], tuple[float, ...]] | None = None
    along: Callable[[Series, Mapping[str, Value]], Iterator[MergedCheckpoint]] | None = None
    needs_score: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name, "merge strategy")
        if self.merge is None and self.combine is None:
            raise E2LMError(f"merge strategy {self.name!r} has neither merge nor combine")

    def scope_for(self, parameters: Mapping[str, Value]) -> Scope:
        """What ``merge`` sees at once under ``parameters``, on which it may depend."""
        return self.scope(parameters) if callable(self.scope) else self.scope


def parse_merge_spec(text: str) -> tuple[str, dict[str, Value]]:
    """Name and parameters written as ``name:key=value,key=value``.

    >>> parse_merge_spec("wsm:window=5,curve=1-sqrt,normalize=true")
    ('wsm', {'window': 5.0, 'curve': '1-sqrt', 'normalize': True})
    >>> parse_merge_spec("lawa")
    ('lawa', {})
    """
    name, _, rest = text.partition(":")
    parameters: dict[str, Value] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            raise UserError(f"merge {text!r}: {pair!r} is not key=value; write for example wsm:window=5,curve=linear")
        if key in parameters:
            raise UserError(f"merge {text!r}: {key!r} is given twice")
        parameters[key] = _value(value)
    return name, parameters


def _value(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text
