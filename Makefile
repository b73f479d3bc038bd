# Two commands do everything: `make demo` runs the product, `make test` proves it.
PYTHON ?= python3.11
ARGS ?=
BIN := .venv/bin

.PHONY: demo test check format kafka test-kafka notebook env lock clean

env: .venv/.ready

.venv/.ready: requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: env
	$(BIN)/headrace demo $(if $(KAFKA),--kafka embedded) $(ARGS)

test: env
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup $(ARGS)

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: env
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

# Newer versions of everything, within the bounds of pyproject.toml. What is deployed is what was tested, without its tools.
lock: env
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --extra dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header -c requirements-dev.lock pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --group bench -o requirements-bench.lock

clean:
	rm -rf .venv .jupyter .headrace .kafka .bench
