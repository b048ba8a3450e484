# A fresh clone, Python 3.11 or newer and make: everything else is fetched into .venv.
# pip does the fetching, since it knows the index, proxy and certificates that you configured for it.

PYTHON ?= python3
AIRFLOW_PORT ?= 8080
SANDBOX_PORT ?= 8765
# Further words for pytest, such as PYTEST_ARGS="-k erasure -x".
PYTEST_ARGS ?=
# Further words for the benchmarks, such as BENCH_ARGS="--only pace" (see benchmarks/README.md).
BENCH_ARGS ?=

AIRFLOW_3 := 3.3.2
AIRFLOW_2 := 2.11.2

# Airflow 2.11 runs on nothing newer than Python 3.12; this is empty where there is none.
PYTHON_FOR_AIRFLOW_2 = $(shell for python in $(PYTHON) python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo $$python && break; done)

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo ui cluster-check test test-3.3 test-2.11 no-test-2.11 test-airflow lint bench bench-million constraints clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/installed ## Watch a night's leads go through Airflow into a sandbox of Closers
	@cd example_dags && ../.venv/bin/python -m demo.night

ui: .venv/installed ## Airflow's web interface and the sandbox's page, until Ctrl-C
	@cd example_dags && exec ../.venv/bin/python -m demo.ui --airflow-port $(AIRFLOW_PORT) --sandbox-port $(SANDBOX_PORT)

cluster-check: .venv/installed-cluster ## Two Celery workers push, one is killed: needs Debian's postgresql and redis-server
	@exec .venv/bin/python -m tests.cluster

test: lint test-3.3 $(if $(PYTHON_FOR_AIRFLOW_2),test-2.11,no-test-2.11) ## Lint, then the suite on Airflow 3.3 and on 2.11

test-3.3: .venv/installed-dev ## The suite on Airflow 3.3
	.venv/bin/python -m pytest $(PYTEST_ARGS)

# What takes minutes and knows nothing of Airflow has run on 3.3.
test-2.11: .venv-2.11/installed-dev ## The suite on Airflow 2.11
	.venv-2.11/bin/python -m pytest $(addprefix --ignore=tests/,push/test_killed.py push/test_fault_matrix.py \
		test_benchmarks.py) $(PYTEST_ARGS)

no-test-2.11:
	@echo "******** NOT TESTED on Airflow 2.11: it needs Python 3.11 or 3.12, and neither is here. ********" >&2

# What an Airflow between the two warns of inside itself is no error here.
test-airflow: ## The suite on another Airflow: make test-airflow AIRFLOW=3.1.8
	@test -n "$(AIRFLOW)" || { echo "Say which: make test-airflow AIRFLOW=3.1.8" >&2; exit 2; }
	@$(MAKE) --no-print-directory .venv-$(AIRFLOW)/installed-dev
	.venv-$(AIRFLOW)/bin/python -m pytest -W default $(PYTEST_ARGS)

lint: .venv/installed-dev ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/installed-bench ## Speed, CPU and memory beside what else one would take (a quarter of an hour)
	@.venv/bin/python -m benchmarks $(BENCH_ARGS)

bench-million: .venv/installed-bench ## Push and sync a million records, and watch the memory (an hour)
	@.venv/bin/python -m benchmarks --only memory --only transfers --only sync --full

constraints: .venv/installed-dev ## Resolve anew what constraints/ pins
	@.venv/bin/python $(PIP_INSTALL) uv
	$(call resolve,$(AIRFLOW_3),constraints/airflow-3.3.txt,dev bench cluster)
	$(call resolve,$(AIRFLOW_2),constraints/airflow-2.11.txt,dev)

clean: ## Remove the virtual environments, and what the demo and the tools left
	rm -rf .venv .venv-* .demo .airflow .cluster build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call resolve,version of Airflow,file,extras). The system's certificates are those that pip trusts.
define resolve
	@echo "Resolving $(2)"
	@{ echo "# What the project is tested with on Airflow $(1). Written by 'make constraints'."; \
	echo "apache-airflow==$(1)" | .venv/bin/uv pip compile --quiet --system-certs --universal \
		--python-version 3.11 --no-emit-index-url --no-header --no-annotate $(addprefix --extra ,$(3)) pyproject.toml -; } > $(2).new \
		&& mv $(2).new $(2) || { rm -f $(2).new; exit 1; }
endef

# $(call new-venv,python,folder): a folder that is half made would pass for a whole one the next time.
define new-venv
	@$(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed, and $(1) is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(1) -m venv --clear $(2) || { rm -rf $(2); exit 1; }
endef

# The stamps are younger than what they were installed from. The demo needs no test tools.
.venv/bin/python:
	$(call new-venv,$(PYTHON),.venv)

.venv/installed: pyproject.toml constraints/airflow-3.3.txt | .venv/bin/python
	@echo "Installing the provider and Airflow $(AIRFLOW_3) into .venv (under a minute on a quick line)"
	@.venv/bin/python $(PIP_INSTALL) -c constraints/airflow-3.3.txt -e '.[sandbox,examples]'
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "Installing what the tests need into .venv"
	@.venv/bin/python $(PIP_INSTALL) -c constraints/airflow-3.3.txt -e '.[dev]'
	@touch $@

.venv/installed-cluster: .venv/installed
	@echo "Installing what an Airflow with Celery workers needs into .venv"
	@.venv/bin/python $(PIP_INSTALL) -c constraints/airflow-3.3.txt -e '.[cluster]'
	@touch $@

.venv/installed-bench: .venv/installed
	@echo "Installing what the benchmarks need into .venv"
	@.venv/bin/python $(PIP_INSTALL) -c constraints/airflow-3.3.txt -e '.[bench]'
	@touch $@

.venv-2.11/installed-dev: pyproject.toml constraints/airflow-2.11.txt
	@test -n "$(PYTHON_FOR_AIRFLOW_2)" \
		|| { echo "Airflow 2.11 needs Python 3.11 or 3.12, and neither is here." >&2; exit 1; }
	$(call new-venv,$(PYTHON_FOR_AIRFLOW_2),.venv-2.11)
	@echo "Installing the provider and Airflow $(AIRFLOW_2) into .venv-2.11"
	@.venv-2.11/bin/python $(PIP_INSTALL) -c constraints/airflow-2.11.txt -e '.[dev]'
	@touch $@

.venv-%/installed-dev: pyproject.toml
	$(call new-venv,$(PYTHON),.venv-$*)
	@echo "Installing the provider and Airflow $* into .venv-$*"
	@.venv-$*/bin/python $(PIP_INSTALL) -e '.[dev]' 'apache-airflow==$*'
	@touch $@
