"""The strict base of every pydantic model that meets a file, a network or a plugin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from e2lm.errors import UserError, nearest_names, one_line


class Noun(BaseModel):
    """Unknown fields, wrong types and NaN are refused; instances never change."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def from_data(cls, data: Any, source: str) -> Self:
        """Validated ``data``; a :class:`UserError` names ``source``, the field, what was found and what is allowed."""
        try:
            # Through JSON, where tuples are arrays and paths are strings; strict mode wants it so.
            return cls.model_validate_json(json.dumps(data))
        except ValidationError as error:
            raise UserError(f"{source}: {explained(error, cls)}") from error

    @classmethod
    def from_json_file(cls, path: Path) -> Self:
        """The noun stored in ``path``; a :class:`UserError` for anything that is not one."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file") from error
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"{path}: not valid JSON ({one_line(error)})") from error
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        return cls.from_data(data, str(path))


def explained(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem in plain words.

    >>> from e2lm.checkpoint import Checkpoint
    >>> try:
    ...     Checkpoint.model_validate({"stap": 3})
    ... except ValidationError as error:
    ...     explained(error, Checkpoint)
    "field 'step': missing (Field required)"
    """
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "(whole)"
    message = first["msg"]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 and first["type"] != "missing" else ""
    if first["type"] == "extra_forbidden":
        return f"unknown field {field!r}. {nearest_names(str(first['loc'][-1]), model.model_fields)}{more}"
    if first["type"] == "missing":
        return f"field {field!r}: missing ({message})"
    return f"field {field!r}: found {first['input']!r:.80}; {message}{more}"
