# Nothing is needed but python3 (3.11 or newer) and make: every target sets itself up in .venv.
#
# SKYSENSE_DATA       folder of the real-data kit           } tests that need one of them are skipped
# SKYSENSE_REFERENCE  folder of recorded reference outputs  } with a reason where it is not set

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# One thread per process: parallel workers whose OpenMP threads spin against each other are slower than one.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# The kit as places, where there is a kit.
KIT := $(if $(SKYSENSE_DATA),runs/kit_places)
WITH_KIT := $(if $(KIT),--kit_places $(KIT))
LABELLED := $(if $(SKYSENSE_DATA),runs/kit_labelled)

.PHONY: setup demo demo-data evidence ladder tasks test test-long test-all lint bench clean
.DEFAULT_GOAL := setup

setup: $(READY)  ## a virtual environment with the locked versions and this checkout

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup $(KIT)  ## pretrain a tiny model, probe it, map a scene: on simulated places, or on the kit's
	$(BIN)/skysense demo --out runs/demo $(WITH_KIT)

demo-data: setup  ## curate a small archive on this machine and learn from its shards: simulated, or the kit's
	$(BIN)/skysense demo-data --out runs/demo-data $(if $(SKYSENSE_DATA),--kit "$(SKYSENSE_DATA)")

evidence: setup $(KIT)  ## what pretraining is worth, with intervals
	$(BIN)/skysense evidence --out runs/evidence $(WITH_KIT)

ladder: setup  ## what each component of pretraining adds, with intervals
	$(BIN)/skysense ladder --out runs/ladder

tasks: setup $(KIT) $(LABELLED)  ## what a pre-trained model is worth on every task, with intervals
	$(BIN)/skysense tasks --out runs/tasks $(WITH_KIT) $(if $(LABELLED),--kit_labelled $(LABELLED))

runs/kit_labelled: | $(READY)
	rm -rf $@.unfinished
	$(BIN)/python examples/kit_to_labelled.py $@.unfinished
	mv $@.unfinished $@

runs/kit_places: | $(READY)  # written beside and renamed: a conversion that was cut off begins again
	rm -rf $@.unfinished
	$(BIN)/python examples/kit_to_places.py $@.unfinished
	mv $@.unfinished $@

test: setup  ## the quick tests
	$(PYTEST) -m "not long"

test-long: setup  ## the tests that take minutes
	$(PYTEST) -m long

test-all: test test-long  ## every test

lint: setup  ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## every measurement; a script whose name begins with _ is a helper
	@set -e; for script in benchmarks/[!_]*.py; do echo "== $$script"; PYTHONPATH=. $(BIN)/python "$$script"; done

clean:  ## everything that was built or run here
	rm -rf .venv runs build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
