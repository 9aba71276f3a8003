"""``lm_eval run --model e2lm-merge``: a merge made in memory and evaluated as lm-eval's own ``hf`` model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lm_eval.models.huggingface import HFLM

from e2lm.errors import UserError
from e2lm.merge_strategy import Value, parse_merge_spec
from e2lm_merge.output.in_memory import merged_model
from e2lm_merge.plan.compatibility import tell
from e2lm_merge.plan.merge_plan import MergePlan, plan_merge
from e2lm_merge.plan.recipe import Recipe, read_recipe, recipe_from_data

#: Between models in ``--model_args``, where commas and equals signs are taken.
MODEL_SEPARATOR = ";"

#: Arguments that are the recipe's own and not lm-eval's.
RECIPE_FIELDS = ("base_model", "dtype", "out_dtype", "donor", "tied_embeddings", "seed", "series")


def recipe_of_arguments(config: str | None, strategy: str | None, models: str | None, fields: dict[str, Any]) -> Recipe:
    """The recipe that ``--model_args`` describe: ``config=FILE``, or ``strategy=NAME:key=value`` with ``models=A;B``.

    Parameters of the strategy follow its name, joined by ``+`` because lm-eval takes the commas:
    ``strategy=ties:density=0.5+lambda=0.9``.
    """
    if (config is None) == (strategy is None):
        raise UserError("e2lm-merge: give either config=merge.yml or strategy=NAME with models=A;B (or series=RUN)")
    if config is not None:
        if models is not None or fields:
            given = "models" if models is not None else next(iter(fields))
            raise UserError(f"e2lm-merge: {given!r} stands in the config already; write it there")
        return read_recipe(Path(config))
    assert strategy is not None
    name, parameters = parse_merge_spec(strategy.replace("+", ","))
    settled: dict[str, Value] = dict(parameters)
    data: dict[str, Any] = {"merge_method": name, "parameters": settled, **fields}
    if models is not None:
        data["models"] = [{"model": part} for part in models.split(MODEL_SEPARATOR) if part]
    return recipe_from_data(data, "--model_args")


def usable_device(asked: str | None) -> str:
    """``asked`` where it is at hand, else what is: lm-eval asks for ``cuda:0`` wherever nobody says another.

    >>> usable_device("cpu")
    'cpu'
    """
    import torch

    wanted, found = torch.device(asked or "cuda"), torch.accelerator.current_accelerator()
    is_there = (
        found is not None and wanted.type == found.type and (wanted.index or 0) < torch.accelerator.device_count()
    )
    if wanted.type == "cpu" or is_there:
        return str(wanted)
    return "cuda" if torch.cuda.is_available() else "cpu"


class E2lmMerge(HFLM):  # type: ignore[misc]
    """The merged model inside lm-eval; everything but the weights is lm-eval's ``hf``."""

    def __init__(
        self,
        config: str | None = None,
        strategy: str | None = None,
        models: str | None = None,
        device: str | None = None,
        **kwargs: Any,
    ) -> None:
        fields = {name: kwargs.pop(name) for name in RECIPE_FIELDS if kwargs.get(name) is not None}
        kwargs.pop("pretrained", None)
        recipe = recipe_of_arguments(config, strategy, models, fields)
        near = None if config is None else Path(config).parent
        self.merge_plan: MergePlan = plan_merge(recipe, near)
        tell(self.merge_plan.findings)
        model = merged_model(self.merge_plan)
        model = model.to(usable_device(device))
        tokens = self.merge_plan.vocabulary
        kwargs.setdefault("tokenizer", str(self.merge_plan.donor.folder) if tokens is None else tokens.tokenizer)
        super().__init__(pretrained=model, **kwargs)

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into its results: the merge instead of a Hub commit."""
        return {
            "model_num_parameters": self.merge_plan.params,
            "merge_recipe": self.merge_plan.recipe.model_dump(mode="json", exclude_defaults=True),
            "merge_models": [model.label for model in self.merge_plan.models],
        }
