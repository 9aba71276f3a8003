"""What is known before anything is scored: tasks without lm-eval, steps of the same weights, units that fit no more."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from e2lm.run_record import Note
from e2lm_adapters.eval.address import Parts, differing, surroundings, unit_key
from e2lm_adapters.eval.memory import Memory
from e2lm_adapters.eval.request import EvaluationRequest, WeightsOf, Work, parts_of
from e2lm_adapters.eval.store import EvaluationStore, Unit
from e2lm_adapters.lm_eval.sources import opened_files, sources_of, surroundings_key
from e2lm_adapters.lm_eval.task_code import code_of
from e2lm_adapters.lm_eval.tasks import LoadedTasks, TaskIdentities, load_tasks

#: What a unit of an earlier release differs by.
UNRECORDED = "an earlier release did not record its tokenizer, configuration and task code"


class RememberedTasks:
    """The tasks of a command: as they are remembered, or loaded by lm-eval where there is a doubt or work."""

    def __init__(self, request: EvaluationRequest, memory: Memory | None = None) -> None:
        self._request = request
        self._memory = memory = memory or Memory(request.out)
        paths = [str(Path(path).absolute()) for path in request.include_paths]
        settings = sorted((name, repr(value)) for name, value in request.model_arguments.items())
        self._key = surroundings_key(
            request.model, request.tasks, paths, request.num_fewshot, request.limit, settings, request.adapter
        )
        self._loaded: LoadedTasks | None = None
        known = memory.tasks(self._key)
        if known is None:
            self._load()
        else:
            self.facts: TaskIdentities = known[0]
            self._model: Parts = known[1]

    @property
    def surroundings(self) -> Parts:
        """What all units of the command share, the code of a stranger's model included."""
        request = self._request
        return {**surroundings(request.model, request.adapter, request.model_arguments), **self._model}

    def must_be_loaded(self, work: Iterable[Work]) -> bool:
        """Load the tasks where something is missing; whether they are others than those remembered."""
        if self._loaded is not None or not any(piece.missing for piece in work):
            return False
        before = (self.facts, self._model)
        self._load()
        return before != (self.facts, self._model)

    def keep(self) -> None:
        """Let later commands remember them too."""
        self._memory.write()

    def loaded(self) -> LoadedTasks:
        """The tasks, ready for lm-eval."""
        if self._loaded is None:
            self._load()
        assert self._loaded is not None
        return self._loaded

    def _load(self) -> None:
        from e2lm_adapters.eval.evaluator import model_class
        from e2lm_adapters.eval.processes import quiet_libraries
        from e2lm_adapters.scoring.transformers_import import collection_paused

        request = self._request
        with collection_paused():
            quiet_libraries(request.quiet)
            model = model_class(request.model)
            began_s = time.time()
            with opened_files() as opened:
                loaded = load_tasks(
                    request.tasks, request.include_paths, request.num_fewshot, request.limit, request.model_arguments
                )
        self._loaded, self.facts = loaded, loaded.facts
        self._model = model_parts(model)
        sources = sources_of(loaded.task_dict["tasks"].values(), [model], opened, request.include_paths, began_s)
        self._memory.see_tasks(self._key, self.facts, self._model, sources)


def model_parts(model: type) -> Parts:
    """The code of a stranger's model: its files, or the version of the package it came in; not of what that imports."""
    own = {one.__module__.partition(".")[0] for one in model.__mro__}
    parts = code_of([model]).parts.items()
    return {f"model {name}": told for name, told in parts if not _is_package(name) or name.partition(" ")[2] in own}


def _is_package(part: str) -> bool:
    return part.startswith("package ")


def same_weights(weights: WeightsOf) -> tuple[Note, ...]:
    """A note for each set of steps of a series that hold the same bytes: between them a curve says nothing."""
    steps: dict[tuple[str, str], list[int]] = {}
    for (series, step), found in sorted(weights.items()):
        steps.setdefault((series, found.sha256), []).append(step)
    return tuple(
        Note(
            what=f"{series}, steps {shown_steps(own)}",
            why="the weights are the same, byte for byte; a curve through them says nothing of training",
        )
        for (series, _), own in steps.items()
        if len(own) > 1
    )


def superseded_units(
    request: EvaluationRequest, tasks: TaskIdentities, store: EvaluationStore, work: Sequence[Work]
) -> tuple[Note, ...]:
    """Units of the same series, step, task, shots and limit that no longer fit: how many, and what differs."""
    wanted: dict[str, dict[int, dict[str, Parts]]] = {}
    for piece in work:
        own = {name: parts_of(request, piece.weights, tasks, name) for name in tasks.names}
        wanted.setdefault(piece.series.name, {})[piece.checkpoint.step] = own
    found: dict[tuple[str, str], list[Unit]] = {}
    for series, by_step in wanted.items():
        keys = {step: {unit_key(parts) for parts in own.values()} for step, own in by_step.items()}
        for unit in store.others(series, keys):
            if unit.task in by_step[unit.step] and _asked_the_same(unit, request):
                found.setdefault((series, _difference(unit, by_step[unit.step][unit.task])), []).append(unit)
    return tuple(
        Note(
            what=f"{series}, {counted(units)}",
            why=f"kept and not used, since {difference}",
            file=str(store.folder / "units" / series),
        )
        for (series, difference), units in found.items()
    )


def _asked_the_same(unit: Unit, request: EvaluationRequest) -> bool:
    """Whether model, arguments, shots and limit were those of ``request``; the limit of old units is unknown."""
    theirs, ours = unit.adapter.split(" ", 2), request.adapter.split(" ", 2)
    return (theirs[0], theirs[2:]) == (ours[0], ours[2:]) and (not unit.parts or unit.limit == request.limit)


def _difference(unit: Unit, wanted: Mapping[str, str]) -> str:
    if not unit.parts:
        return UNRECORDED
    names = differing(unit.parts, wanted)
    return f"these differ: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"


def counted(units: Sequence[Unit]) -> str:
    """Of which steps and tasks ``units`` are, and how many."""
    tasks = list(dict.fromkeys(unit.task for unit in units))
    steps = sorted({unit.step for unit in units})
    named = ", ".join(tasks[:3]) + (" ..." if len(tasks) > 3 else "")
    return f"steps {shown_steps(steps)}: {len(units)} older {'unit' if len(units) == 1 else 'units'} of {named}"


def shown_steps(steps: Sequence[int]) -> str:
    """The first of them, and the last where there are many."""
    return ", ".join(map(str, steps[:4])) + (f" ... {steps[-1]}" if len(steps) > 4 else "")
