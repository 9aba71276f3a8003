"""What every verb keeps to."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from e2lm.kind import imported
from e2lm.verb import Verb
from e2lm_testing.contract import check_described, resolved

#: How a parameter that takes any number of values is written.
STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


class VerbContract:
    """Subclass it and set ``verb`` to a :class:`Verb`, or to the name of an installed one."""

    verb: ClassVar[Verb | str]

    @property
    def _verb(self) -> Verb:
        return resolved(self.verb, "e2lm_register_verbs", Verb, "verb")

    @property
    def _function(self) -> Any:
        return imported(self._verb.target, f"verb {self._verb.name!r}")

    def test_it_says_what_it_is(self) -> None:
        check_described(self._verb.name, self._verb.description)

    def test_its_target_is_a_function_that_says_what_it_does(self) -> None:
        assert callable(self._function), f"{self._verb.target} is no function"
        assert (inspect.getdoc(self._function) or "").strip(), f"{self._verb.target} has no docstring"

    def test_its_signature_has_the_parameters_of_its_target(self) -> None:
        found = inspect.signature(self._function).parameters.values()
        assert self._verb.parameters == tuple(f"{STARS.get(one.kind, '')}{one.name}" for one in found)
