# Verbs only; what they do lives in tools/, CMakePresets.json and the folders.
#   make demo    install what is needed, build, index six manuals, train, ask
#   make test    install what is needed, build, run all tests
SHELL := /bin/bash
PYTHON := build/venv/bin/python
SPLIT ?= dev
# BEIR folders for tests, evidence and `make demo DATA=...`; tests skip where there are none.
DATA ?=
COLLEGIUM_DATA ?= $(abspath $(or $(DATA),../shared/data))
export COLLEGIUM_DATA

.PHONY: demo test test-fast build wheel evidence evidence-routing format lint sanitize sanitize-threads consumer clean

build:
	tools/install-dependencies.sh build test
	tools/build.sh dev

test: build
	tools/run-tests.sh all

test-fast: build
	tools/run-tests.sh fast

# DATA=folder SETS=a,b uses BEIR folders instead of the manuals; FULL=1 takes all passages.
demo:
	tools/install-dependencies.sh build demo
	tools/install-package.sh
	$(if $(DATA),,tools/fetch-manuals.sh build/demo/packages)
	$(PYTHON) examples/demo/demo.py --library demo-library$(if $(DATA),-data) \
	  $(if $(DATA),--data $(DATA) $(if $(SETS),--sets $(SETS)),--manuals build/demo/packages) \
	  $(if $(FULL),--full)

wheel:
	tools/install-dependencies.sh build wheel
	tools/wheel.sh

# Regenerates docs/evidence/. SPLIT=test opens the test split and logs that it did.
evidence:
	tools/install-dependencies.sh build demo evidence
	tools/install-package.sh
	SPLIT=$(SPLIT) tools/evidence.sh $(ONLY)

# Routing alone: 18 sets, about 20 minutes of embedding the first time.
evidence-routing:
	$(MAKE) evidence ONLY=routing SPLIT=$(SPLIT)

format:
	tools/install-dependencies.sh lint
	tools/lint.sh --fix

lint:
	tools/install-dependencies.sh build test lint
	tools/lint.sh

sanitize: build
	tools/build.sh asan
	tools/run-tests.sh asan

# THREAD_SECONDS=3600 for evidence.
sanitize-threads:
	tools/install-dependencies.sh build sanitize
	tools/build.sh tsan collegium_core_tests collegium_index_tests collegium_router_tests
	tools/run-tests.sh tsan

clean:
	rm -rf build dist
