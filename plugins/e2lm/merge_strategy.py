"""What a merge strategy takes and gives, a type for every kind; and ``name:key=value`` of ``--merge``, parsed.

The engine reads the same-named tensor of every model, turns it into float32 and asks the strategy for the merged one.

* :class:`WholeTensorMerge`: a function of whole tensors. The ten-line strategy is one.
* :class:`ElementwiseMerge` and :class:`RowwiseMerge`: a function of blocks, so that memory does not grow with the
  model. What it needs of the whole tensor first (a norm, a threshold) it finds by ``look``.
* :class:`WeightedSum`: a sum of the inputs whose coefficients it gives; it never sees a number.
* :class:`SwitchedMerge`: one of these, by its parameters.
* :class:`TrajectoryMerge`: an average along one training run.
* :class:`ScoredMerge`: scores candidates and comes to another merge.

Shape suffixes: M models, K checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from e2lm.errors import E2LMError, UserError, nearest_names
from e2lm.kind import checked_name

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from e2lm.checkpoint import Checkpoint
    from e2lm.series import Series

Value = float | bool | str

#: How much of a tensor ``merge`` sees at once: all of it, any numbers, or whole rows; in a ``"sum"`` it sees none.
Scope = Literal["sum", "element", "row", "tensor"]

#: The parameter that says how much a model counts; a strategy without it counts all alike.
WEIGHT = "weight"


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """The same-named tensor of every model to merge, in float32, and how it is to be merged.

    ``weights`` has one number per model and ``model_parameters`` the other numbers of each model; ``parameters`` holds
    the numbers that all share. ``tensors`` and ``base`` are the strategy's own: it may overwrite them. Of a strategy
    that works in blocks they hold one block, whose first number is number ``start`` of the flattened tensor of shape
    ``shape``; ``found`` is then what ``look`` gave. ``layer`` counts from 0 and is None outside the layers.
    ``with_base`` says whether there is a base, also where no numbers are given. ``models`` are the models as the user
    wrote them, for messages; ``identities`` tell them by what they hold, for what must not depend on that.
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
    identities: tuple[str, ...] = ()

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


RANGE = re.compile(r"([\[(])\s*([-+.\deinf]+)\s*,\s*([-+.\deinf]+)\s*([\])])")


@dataclass(frozen=True, slots=True)
class MergeParameter:
    """A number, switch or text that a config may set: its type is that of ``default``.

    ``range`` bounds a number, written as in mathematics; ``choices`` lists the texts allowed.
    """

    default: Value
    range: str = ""
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.range:
            _parsed_range(self.range)

    def checked(self, value: Value, where: str) -> Value:
        """``value`` in the type of the default; a :class:`UserError` for another type, choice or range.

        Numbers that YAML 1.1 reads as text (``1e-4``) become numbers, and a text that is one number a text again.

        >>> MergeParameter(0.5, "(0, 1]").checked("1e-4", "density"), MergeParameter("linear").checked(0.9, "curve")
        (0.0001, '0.9')
        """
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise UserError(f"{where}: found {value!r}; expected true or false")
            return value
        if isinstance(self.default, str):
            return self._text(value, where)
        number = _number(value, where)
        if self.range and not within(number, self.range):
            raise UserError(f"{where}: found {number:g}; allowed is {self.range}")
        return number

    def _text(self, value: Value, where: str) -> str:
        if not self.choices and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or (self.choices and value not in self.choices):
            raise UserError(f"{where}: found {value!r}. {nearest_names(str(value), self.choices)}")
        return value


def _number(value: Value, where: str) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise UserError(f"{where}: found {value!r}; expected a finite number")
    return number


def within(number: float, interval: str) -> bool:
    """Whether ``number`` lies in an interval written as in mathematics.

    >>> within(0.0, "(0, 1]"), within(1.0, "(0, 1]"), within(7.0, "[0, inf)")
    (False, True, True)
    """
    opening, lowest, highest, closing = _parsed_range(interval)
    low, high = float(lowest), float(highest)
    above = number > low if opening == "(" else number >= low
    below = number < high if closing == ")" else number <= high
    return above and below


def _parsed_range(interval: str) -> tuple[str, ...]:
    match = RANGE.fullmatch(interval.strip())
    if match is None:
        raise E2LMError(f"range {interval!r} is not an interval; write it as in (0, 1] or [0, inf)")
    return match.groups()


class _Front(type):
    """Of ``MergeStrategy(...)``, as plugins write it, ``__new__`` gives a finished object: no ``__init__`` follows."""

    def __call__(cls, *arguments: Any, **fields: Any) -> Any:
        if cls is MergeStrategy:
            return cls.__new__(cls, *arguments, **fields)
        return super().__call__(*arguments, **fields)


@dataclass(frozen=True, init=False)
class MergeStrategy(metaclass=_Front):
    """A named merge: ``merge(group)`` gives the merged tensor, of the shape of the inputs, in float32.

    ``MergeStrategy(name, description, merge)`` gives a :class:`WholeTensorMerge`, which sees whole tensors; with
    ``scope="element"`` it is an :class:`ElementwiseMerge`, with ``scope="row"`` a :class:`RowwiseMerge`, which see
    blocks, so that memory does not grow with the model. Every kind is a type of its own in ``e2lm.merge_strategy`` and
    a ``MergeStrategy``; the older keywords ``combine``, ``look``, ``weigh`` and so on give these kinds too.

    ``defaults`` are the parameters that all models share and ``model_defaults`` those that each model has, ``weight``
    among them if models may count differently; their types are the types allowed. ``ranges`` bounds numbers
    (``"(0, 1]"``), ``choices`` lists texts; the kinds take a :class:`MergeParameter`, which says it all. ``inputs`` is
    the least and the greatest number of models beside the base. ``ordered`` says that the models' order matters.
    ``check(group)`` refuses parameters that do not go together.
    """

    name: str
    description: str
    _: KW_ONLY
    formula: str = ""
    source: str = ""
    needs_base: bool = False
    takes_base: bool = False
    ordered: bool = False
    inputs: tuple[int, int | None] = (1, None)
    parameters: Mapping[str, MergeParameter] = field(default_factory=dict)
    model_parameters: Mapping[str, MergeParameter] = field(default_factory=dict)
    check: Callable[[TensorGroup], None] | None = None

    def __new__(
        cls,
        name: str,
        description: str,
        merge: Callable[[TensorGroup], torch.Tensor] | None = None,
        needs_base: bool = False,
        defaults: Mapping[str, Value] | None = None,
        source: str = "",
        formula: str = "",
        takes_base: bool = False,
        ordered: bool = False,
        scope: Scope | Callable[[Mapping[str, Value]], Scope] = "tensor",
        inputs: tuple[int, int | None] = (1, None),
        model_defaults: Mapping[str, Value] | None = None,
        ranges: Mapping[str, str] | None = None,
        choices: Mapping[str, tuple[str, ...]] | None = None,
        check: Callable[[TensorGroup], None] | None = None,
        **of_other_kinds: Any,
    ) -> Self:
        """The strategy of the kind that the arguments describe; see :func:`_of_arguments` for ``of_other_kinds``."""
        if cls is not MergeStrategy:  # ``__init__`` of the kind follows, which takes no more than three by place
            return object.__new__(cls)
        facts = {
            "formula": formula,
            "source": source,
            "needs_base": needs_base,
            "takes_base": takes_base,
            "ordered": ordered,
            "inputs": inputs,
            "parameters": _declared(defaults, ranges, choices),
            "model_parameters": _declared(model_defaults, ranges, choices),
            "check": check,
        }
        found: Any = _of_arguments(name, description, merge, scope, facts, **of_other_kinds)
        return found  # type: ignore[no-any-return]

    def __getnewargs__(self) -> tuple[str, str]:
        """What ``copy`` and ``pickle`` hand to ``__new__``."""
        return self.name, self.description

    def __post_init__(self) -> None:
        checked_name(self.name, "merge strategy")

    @property
    def defaults(self) -> dict[str, Value]:
        """The value of every shared parameter that a config does not set."""
        return {name: one.default for name, one in self.parameters.items()}

    @property
    def model_defaults(self) -> dict[str, Value]:
        """The same of the parameters that each model has."""
        return {name: one.default for name, one in self.model_parameters.items()}

    def settled(self, parameters: Mapping[str, Value]) -> FunctionMerge | WeightedSum:
        """What merges the numbers under ``parameters``; an :class:`E2LMError` where this strategy merges none."""
        del parameters
        raise E2LMError(f"merge strategy {self.name!r} merges no numbers itself")

    def _demand(self, **functions: object) -> None:
        for field_name, function in functions.items():
            if not callable(function):
                raise E2LMError(f"merge strategy {self.name!r}: {field_name} is {function!r}; expected a function")


def _declared(
    defaults: Mapping[str, Value] | None,
    ranges: Mapping[str, str] | None,
    choices: Mapping[str, tuple[str, ...]] | None,
) -> dict[str, MergeParameter]:
    return {
        name: MergeParameter(value, (ranges or {}).get(name, ""), tuple((choices or {}).get(name, ())))
        for name, value in (defaults or {}).items()
    }


@dataclass(frozen=True)
class FunctionMerge(MergeStrategy):
    """What the three kinds share that merge numbers by a function; make one of those."""

    merge: Callable[[TensorGroup], torch.Tensor]
    _: KW_ONLY
    look: Callable[[TensorBlocks, Any], Any] | None = None
    look_at_all: Callable[[Iterable[TensorBlocks]], Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._demand(merge=self.merge)

    def settled(self, parameters: Mapping[str, Value]) -> FunctionMerge:
        """The strategy itself."""
        return self


@dataclass(frozen=True)
class WholeTensorMerge(FunctionMerge):
    """``merge`` sees whole tensors, in their shape."""


@dataclass(frozen=True)
class ElementwiseMerge(FunctionMerge):
    """``merge`` works number by number: it sees flat blocks of any length.

    ``look_at_all(tensors)`` sees every tensor once before any is merged; what it gives is ``look``'s second argument.
    ``look(blocks, found_in_all)`` sees a tensor before it is merged; what it gives is ``group.found``. Without ``look``
    that is what ``look_at_all`` gave.
    """


@dataclass(frozen=True)
class RowwiseMerge(FunctionMerge):
    """As :class:`ElementwiseMerge`, but ``merge`` sees matrices of whole rows. A vector is one row."""


@dataclass(frozen=True)
class WeightedSum(MergeStrategy):
    """A sum of the inputs: ``combine(group, products)`` gives its :class:`Combination`.

    ``products`` holds inner products where ``products_of(group)`` says of what: of the ``inputs`` (models in order,
    then the base) or of the ``deltas`` from the base; else it is None.
    """

    combine: Callable[[TensorGroup, NDArray[np.float64] | None], Combination]
    _: KW_ONLY
    products_of: Callable[[TensorGroup], Literal["inputs", "deltas"] | None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._demand(combine=self.combine)

    def settled(self, parameters: Mapping[str, Value]) -> WeightedSum:
        """The strategy itself."""
        return self


@dataclass(frozen=True)
class SwitchedMerge(MergeStrategy):
    """``choose(parameters)`` gives the strategy that merges under these; of that only functions are asked for."""

    choose: Callable[[Mapping[str, Value]], MergeStrategy]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._demand(choose=self.choose)

    def settled(self, parameters: Mapping[str, Value]) -> FunctionMerge | WeightedSum:
        """What ``choose`` gives."""
        found: object = self.choose(parameters)
        if not isinstance(found, MergeStrategy):
            told = f"merge strategy {self.name!r} chose {found!r:.60}"
            raise E2LMError(f"{told}, expected a MergeStrategy; tell its authors")
        return found.settled(parameters)


#: What the merged trajectory of a run is made of: a step, and the averaged weights there by tensor name.
MergedCheckpoint = tuple[int, dict[str, "torch.Tensor"]]


@dataclass(frozen=True)
class TrajectoryMerge(MergeStrategy):
    """An average along one training run.

    ``weigh(places_K, parameters)`` gives the weights of checkpoints in order of training, by which ``numbers`` merges
    them: places are their steps, or tokens where a parameter ``over`` says so (see ``places``).
    ``along(series, parameters)`` gives the average at every checkpoint of a run in one pass over its weights.
    """

    _: KW_ONLY
    weigh: Callable[[Sequence[int], Mapping[str, Value]], tuple[float, ...]]
    along: Callable[[Series, Mapping[str, Value]], Iterator[MergedCheckpoint]]
    numbers: MergeStrategy

    def __post_init__(self) -> None:
        super().__post_init__()
        self._demand(weigh=self.weigh, along=self.along)

    def settled(self, parameters: Mapping[str, Value]) -> FunctionMerge | WeightedSum:
        """What merges the checkpoints once they have weights."""
        return self.numbers.settled(parameters)

    def places(self, checkpoints_K: Sequence[Checkpoint], parameters: Mapping[str, Value]) -> tuple[int, ...]:
        """Where in training the checkpoints lie, as ``weigh`` takes it: in steps, or tokens with ``over: tokens``."""
        return places_in_training(self.name, checkpoints_K, parameters)

    def spacing_note(self, checkpoints_K: Sequence[Checkpoint], parameters: Mapping[str, Value]) -> str | None:
        """A line where checkpoints that are averaged lie unevenly in training and the weights do not know of it."""
        over = parameters.get("over")
        if over not in ("checkpoints", "steps"):
            return None
        weights_K = self.weigh(self.places(checkpoints_K, parameters), parameters)
        taken = [one for one, weight in zip(checkpoints_K, weights_K, strict=True) if weight]
        tokens = [one.tokens for one in taken if one.tokens is not None]
        known = len(tokens) == len(taken) and all(left < right for left, right in pairwise(tokens))
        counts = tokens if known else [one.step for one in taken]
        stretches = [
            (right.step - left.step, after - before)
            for (left, right), (before, after) in zip(pairwise(taken), pairwise(counts), strict=True)
        ]
        if over == "checkpoints":
            uneven = [float(length) for _, length in stretches]
        else:
            uneven = [length / steps for steps, length in stretches] if known else []
        if len(uneven) < 2 or max(uneven) <= UNEVEN * min(uneven):
            return None
        place = f"steps {taken[0].step} to {taken[-1].step}"
        if over == "steps":
            return f"{self.name}: {place} are of unequal tokens; over: tokens weighs them by these"
        way = "tokens" if known else "steps"
        return f"{self.name} counts the checkpoints of {place}, which lie unevenly; over: {way} weighs them by {way}"


def places_in_training(
    name: str, checkpoints_K: Sequence[Checkpoint], parameters: Mapping[str, Value]
) -> tuple[int, ...]:
    """Steps of the checkpoints, or tokens where ``over`` says so; :class:`UserError` where these are not known."""
    if parameters.get("over") != "tokens":
        return tuple(one.step for one in checkpoints_K)
    tokens = [one.tokens for one in checkpoints_K if one.tokens is not None]
    if len(tokens) < len(checkpoints_K) or any(left >= right for left, right in pairwise(tokens)):
        raise UserError(
            f"merge {name!r}: over is tokens, and not every checkpoint says how many tokens came before it, in rising "
            "order; take over: steps, or put tokens into the run's series.json"
        )
    return tuple(tokens)


#: Stretches between checkpoints are uneven where the longest is more than so many times the shortest.
UNEVEN = 1.5


@dataclass(frozen=True, slots=True)
class CandidateSearch:
    """A search for the best merge, ready to run.

    ``cost`` says how many evaluations it takes, ``worst_case_total`` in all; ``run(quiet)`` gives the fields of the
    merge config found, and what to report of the search.
    """

    cost: Mapping[str, int]
    run: Callable[[bool], tuple[Mapping[str, Any], Mapping[str, Any]]]


@dataclass(frozen=True)
class ScoredMerge(MergeStrategy):
    """Scores candidates and comes to a merge by another strategy.

    ``search(config, near)`` gets the fields of a merge config, its ``score`` among them, and the folder from which
    relative paths are tried; it checks them all and scores nothing before :class:`CandidateSearch` is run.
    """

    search: Callable[[Mapping[str, Any], Path], CandidateSearch]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._demand(search=self.search)


FUNCTION_KINDS: dict[str, type[FunctionMerge]] = {
    "tensor": WholeTensorMerge,
    "element": ElementwiseMerge,
    "row": RowwiseMerge,
}


def _of_arguments(
    name: str,
    description: str,
    merge: Any,
    scope: Scope | Callable[[Mapping[str, Value]], Scope],
    facts: dict[str, Any],
    *,
    combine: Any = None,
    products_of: Any = None,
    look: Any = None,
    look_at_all: Any = None,
    weigh: Any = None,
    along: Any = None,
    needs_score: bool = False,
) -> MergeStrategy:
    """The strategy that ``MergeStrategy(...)`` was asked for: all kinds were made by it once, each by its keywords."""
    if needs_score:
        return ScoredMerge(name, description, _no_search(name), **facts)
    if merge is None and combine is None:
        raise E2LMError(f"merge strategy {name!r} has neither merge nor combine")

    def of_scope(wanted: str) -> MergeStrategy:
        if wanted == "sum":
            return WeightedSum(name, description, combine, products_of=products_of, **facts)
        if wanted not in FUNCTION_KINDS:
            hint = nearest_names(wanted, ["sum", *FUNCTION_KINDS])
            raise E2LMError(f"merge strategy {name!r}: scope is {wanted!r}. {hint}")
        return FUNCTION_KINDS[wanted](name, description, merge, look=look, look_at_all=look_at_all, **facts)

    numbers: MergeStrategy
    if callable(scope):
        numbers = SwitchedMerge(name, description, lambda parameters: of_scope(scope(parameters)), **facts)
    else:
        numbers = of_scope(scope)
    if weigh is None and along is None:
        return numbers
    return TrajectoryMerge(name, description, weigh=weigh, along=along, numbers=numbers, **facts)


def _no_search(name: str) -> Callable[[Mapping[str, Any], Path], CandidateSearch]:
    def search(config: Mapping[str, Any], near: Path) -> CandidateSearch:
        raise UserError(f"merge_method {name!r} needs a score, and brings no way to score candidates")

    return search


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
