# Two commands do everything: `make demo` runs the product, `make test` proves it.
PYTHON ?= python3.11
ARGS ?=
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps

.PHONY: demo test test-thorough browser check format kafka test-kafka notebook env lock clean

env: .venv/.compiled

# The lock names every package that is needed, so nothing is left to resolve. uv, itself out of the lock, takes a tenth of
# what pip takes; where it finds no registry, as pip's own settings are none of its own, pip does it.
.venv/.ready: requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.lock | $(PIP_INSTALL) --no-compile --require-hashes -r /dev/stdin
	$(UV_INSTALL) --require-hashes -r requirements-dev.lock || $(PIP_INSTALL) --no-compile --require-hashes -r requirements-dev.lock
	$(UV_INSTALL) --no-build-isolation --editable . || $(PIP_INSTALL) --no-build-isolation --editable .
	touch $@

# Apart, since checks need none of it: they run meanwhile.
.venv/.compiled: .venv/.ready
	$(BIN)/python -m headrace.compile_ahead
	touch $@

demo: env
	$(BIN)/headrace demo $(if $(KAFKA),--kafka embedded) $(ARGS)

test: env
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# And every variant: each sabotage, each step of a crash, each kill, the long ways.
test-thorough:
	$(MAKE) test ARGS="--thorough $(ARGS)"

# Chromium for the tests of pages, where the machine has none: as root from Debian, else Playwright's own. Tests skip without.
browser: .venv/.ready
	$(BIN)/python -m tests.review.chromium

check: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

kafka: env
	$(BIN)/headrace kafka

test-kafka: env
	$(BIN)/python -m pytest -m kafka $(ARGS)

# The data scientist's first hour. JupyterLab is no dependency: it has an environment of its own, and runs the kernel of ours.
notebook: env .jupyter/.ready
	.jupyter/bin/jupyter lab docs/first_hour.ipynb $(ARGS)

.jupyter/.ready:
	$(PYTHON) -m venv .jupyter
	.jupyter/bin/python -m pip install --quiet --disable-pip-version-check jupyterlab
	$(BIN)/python -m ipykernel install --prefix .jupyter --name python3 --display-name Headrace
	touch $@

# Newer versions of everything, within the bounds of pyproject.toml. What is deployed is what was tested, without its tools;
# of the extras it has the driver of PostgreSQL, since every setting must work in an image.
lock: .venv/.ready
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --extra dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header -c requirements-dev.lock --extra postgres pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --group bench -o requirements-bench.lock

clean:
	rm -rf .venv .jupyter .headrace .kafka .bench
