# Two commands for a stranger: `make demo` and `make test`. Each makes .venv first, from pinned versions.
PYTHON ?= python3
VENV := .venv
VENV4 := .venv-tl4
# One thread is far faster than two for models this small.
ENV := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Two processes, a file of tests to each: what a file loads is loaded once.
SPLIT := -n 2 --dist loadfile

.PHONY: demo test test-tl4 lint format clean

demo: $(VENV)/.installed
	$(ENV) $(VENV)/bin/mechcausal demo

test: $(VENV)/.installed
	$(ENV) $(VENV)/bin/python -m pytest -q $(SPLIT)

test-tl4: $(VENV4)/.installed
	$(ENV) $(VENV4)/bin/python -m pytest -q $(SPLIT)

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ty check

format: $(VENV)/.installed
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

$(VENV)/.installed: pyproject.toml requirements/tl3.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -c requirements/tl3.txt -e ".[dev,sae]"
	touch $@

$(VENV4)/.installed: pyproject.toml requirements/tl4.txt
	$(PYTHON) -m venv $(VENV4)
	$(VENV4)/bin/python -m pip install --quiet -c requirements/tl4.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV4) mechcausal-demo
