# demo   install what the demo needs, then attack and defend the embedded example (report in ./nip-demo)
# test   lint, types and the test suite
# environments   the tests that install it afresh: without PyTorch, lowest versions, other Pythons, the edge recipe
# coverage   the tests again (TESTS=tests/runtime: some of them), and how many lines of each package they ran
# docs   build the documentation into ./site; links are checked, warnings are errors
# dist   build wheel and sdist into ./dist, check them, and run them in fresh environments (lowest versions too)
# lint   ruff alone          types  mypy alone          clean  remove everything that make made
# ui     fetch onnxruntime-web for `nip ui`, by its lock file, with npm (make test does so where it can)
#
# Every target makes .venv by itself. PYTHON=/path/to/python chooses the interpreter (3.11 or later).

.DELETE_ON_ERROR:
.PHONY: demo test environments coverage docs dist lint types ui clean
.DEFAULT_GOAL := test

VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
DEMO_ARGS ?=
TESTS ?= tests
PACKAGES := nip_runtime export/nip_export export/nip_evaluate

# One thread per process: the suite runs two processes, and more threads would only fight for the cores.
test coverage lint types: export OMP_NUM_THREADS = 1

demo: $(VENV)/.installed-demo
	$(BIN)/nip demo $(DEMO_ARGS)

# Lint and types come first, so that the last line is pytest's summary.
test: lint types
	@$(MAKE) --no-print-directory ui || echo "without onnxruntime-web: tests of nip ui in a browser are skipped"
	$(BIN)/python -m pytest -n 2 --ignore tests/environments

# A job of its own: it downloads packages and runs the runtime's tests twice more.
environments: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/environments

# Lines that ran in the test processes themselves; what a test starts as a process of its own is not counted.
coverage: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --ignore tests/environments $(TESTS) $(PACKAGES:%=--cov=%) --cov-report=
	@for package in $(PACKAGES); do \
	    printf '%-22s %s %% of lines\n' $$package "$$($(BIN)/python -m coverage report --include="$$package/*" --format=total)"; \
	done

docs: $(VENV)/.installed-docs
	$(BIN)/python -m docs.site.build

dist: $(VENV)/.installed-dev
	$(INSTALL) -e ".[release]"
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*
	@$(MAKE) --no-print-directory environments

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

ui: nip_runtime/operate/ui/engine/version.txt

nip_runtime/operate/ui/engine/version.txt: nip_runtime/operate/ui/npm/package-lock.json | $(VENV)/.installed-demo
	$(BIN)/nip ui --fetch

clean:
	rm -rf nip_runtime/operate/ui/engine $(VENV) dist build site nip-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing nip-runtime and what the demo needs into $(VENV) (some minutes) ..."
	$(INSTALL) -e ".[cpu,vision,export,eval]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing nip-runtime and the development tools into $(VENV) (some minutes) ..."
	$(INSTALL) -e ".[cpu,vision,audio,export,eval,sign,serve,scale,dev]"
	@touch $@ $(VENV)/.installed-demo

# Without PyTorch: references and help texts import nothing heavy.
$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing nip-runtime and what builds the documentation into $(VENV) ..."
	$(INSTALL) -e ".[docs]"
	@touch $@

# The candidates are run, not only looked up: a version manager's shim can exist and still refuse to start.
# Some distributions split ensurepip from Python; then the venv borrows the outer pip.
$(VENV)/bin/python:
	@set -e; found=; \
	for candidate in $(or $(PYTHON),python3.11 python3 python); do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "error: nip-runtime needs Python 3.11 or later; tried: $(or $(PYTHON),python3.11 python3 python)." \
	         "Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	rm -rf $(VENV); \
	if ! "$$found" -m venv $(VENV) 2>/dev/null; then \
	    rm -rf $(VENV); "$$found" -m venv --without-pip $(VENV); \
	    "$$found" -m pip --python $(VENV)/bin/python install --disable-pip-version-check --quiet pip; \
	fi
