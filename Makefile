# make demo   install into .venv and run the main job
# make test   install into .venv and run the tests, two files at a time (TEST_JOBS=4)
# make lint   style and types
# make test-vllm   install vLLM for CPUs into .venv-vllm and run its tests
# make families-vllm  every family through vLLM: swapped = fresh = transformers (a quarter of an hour)
# make test-next   install the newest lm-eval that the index has, pre-releases too, into .venv-next and run the
#                tests of what we put into it; skipped where that is the one in .venv
# make test-lm-eval LM_EVAL=DIR   lm-eval's own tests of its model hf, held by e2lm-hf; DIR is a checkout of lm-eval,
#                and nothing is fetched
# make mutants   wrong numbers planted in formulas, in copies of the tree; fails if no test notices one
#                (MUTANTS="--sample 15", "--only e2lm_signal", "--jobs 4"; a killed run goes on)
# make families   tiny models of 76 configurations: swapped from disk and scored, against transformers and lm-eval
#                (FAMILIES="swap --only cohere gpt_neox")
# make release-check REPOSITORY=https://HOST/OWNER/NAME   build what goes to an index into dist/, and install it anew, by pip and
#                by uv where it is (TORCH=torch==2.13.0+cpu)
# make docs   the documentation, into build/site/index.html
# make tutorial   every command of the tutorial in a new folder, about 15 minutes
# make picture   the README's picture, from a quick demo

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VENV_VLLM ?= .venv-vllm
BIN_VLLM := $(VENV_VLLM)/bin
VENV_NEXT ?= .venv-next
BIN_NEXT := $(VENV_NEXT)/bin
LM_EVAL_VERSION := import importlib.metadata; print(importlib.metadata.version('lm_eval'))
# Test files at a time; with 0 in this process, for a debugger.
TEST_JOBS ?= 2
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test test-vllm families-vllm test-next test-lm-eval lint check mutants families release-check docs tutorial picture clean

demo: $(VENV)/.ready
	$(BIN)/e2lm demo

test: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses $(TEST_JOBS) --dist loadfile

test-vllm: $(VENV_VLLM)/.ready
	$(BIN_VLLM)/python -m pytest tests/e2lm_adapters/vllm

families-vllm: $(VENV_VLLM)/.ready
	E2LM_FAMILIES=all $(BIN_VLLM)/python -m pytest tests/e2lm_adapters/vllm/test_families.py

test-next: $(VENV_NEXT)/.ready
	$(BIN_NEXT)/python -m pip install --quiet --pre --upgrade lm-eval
	@ours=$$($(BIN)/python -c "$(LM_EVAL_VERSION)"); next=$$($(BIN_NEXT)/python -c "$(LM_EVAL_VERSION)"); \
	  if [ "$$ours" = "$$next" ]; then echo "skipped: the index has no lm-eval after $$ours"; \
	  else echo "lm-eval $$next"; $(BIN_NEXT)/python -m pytest tests/e2lm_adapters/lm_eval; fi

test-lm-eval: $(VENV)/.ready
	$(BIN)/python -m tests.e2lm_adapters.lm_eval.own_model_tests $(LM_EVAL)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: test lint

mutants: $(VENV)/.ready
	$(BIN)/python -m tests.mutants run $(MUTANTS)

families: $(VENV)/.ready
	$(BIN)/python -m tests.families $(FAMILIES)

release-check: $(VENV)/.ready
	$(BIN)/python -m tests.house.release_check $(REPOSITORY) --torch $(or $(TORCH),torch==2.13.0)

docs: $(VENV)/.ready
	$(BIN)/python docs/hook_reference.py
	$(BIN)/python docs/house_map.py
	$(BIN)/python docs/score_pictures.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

tutorial: $(VENV)/.ready
	$(BIN)/python docs/run_tutorial.py

picture: $(VENV)/.ready
	$(BIN)/e2lm demo --quick --out demo/quick
	cp demo/quick/picture.svg docs/demo.svg

# torch goes first and by itself: a range would bring in its newest build with gigabytes of CUDA libraries.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# Installed as listed: constraints-vllm.txt says why nothing may be resolved.
$(VENV_VLLM)/.ready: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VENV_VLLM)
	$(BIN_VLLM)/pip install --quiet --no-compile --no-deps --requirement constraints-vllm.txt
	$(BIN_VLLM)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# All but lm-eval is that of .venv, so that the release of lm-eval is the only difference.
$(VENV_NEXT)/.ready: $(VENV)/.ready
	$(PYTHON) -m venv $(VENV_NEXT)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
	  > "$$($(BIN_NEXT)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/borrowed.pth"
	$(BIN_NEXT)/python -m pip install --quiet --no-deps --no-build-isolation --ignore-installed --editable .
	touch $@

clean:
	rm -rf $(VENV) $(VENV_VLLM) $(VENV_NEXT) demo build dist .mypy_cache .pytest_cache .ruff_cache
