# The commands of this repository; `make help` lists them. What they need besides the prerequisites is made under target/
# and .cache/, and made again when its inputs change.

# `dev` builds fast; `release` is what ships. `make test PROFILE=release` tests that.
PROFILE ?= dev
# The Python that runs the tools. The wheel is tested under the oldest and the newest one of this machine.
ifndef PYTHON
PYTHON := $(shell tools/prerequisites.sh python)
endif
# The part of `make install` that users set.
PREFIX ?= /usr/local

BUILD = $(abspath $(or $(CARGO_TARGET_DIR),target))
TARGET = $(BUILD)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
export PROFILE PYTHON
export PGENTRA_TARGET = $(TARGET)
export PGENTRA_EMULATOR = $(TARGET)/pgentra-emulator

CARGO_BUILD = cargo build --quiet --profile $(PROFILE)
# What passing tests print is shown too: tools/tally.py searches all output for secrets.
CARGO_TEST = cargo test --quiet --profile $(PROFILE) --no-fail-fast
# RUN [--postgres] VENV COMMAND: runs a command in a virtual environment, with a PostgreSQL.
RUN = "$(PYTHON)" tools/in_environment.py
PYTEST = python -m pytest -c pytest.ini --rootdir .
# OPTIONAL NAME PROBE COMMAND: runs the command if the probe succeeds, else prints `not tried: NAME`.
OPTIONAL = tools/optional.sh

# What `make test` and `make lint` consist of, in this order.
SUITES = test-core test-proxy test-emulator test-packages test-cli test-drivers test-python test-e2e test-sqlalchemy-2.0 test-compare test-node test-c test-dotnet test-java test-php test-ruby test-go test-uniffi test-docs
LINTS = lint-rust lint-fuzz lint-rustdoc lint-generated lint-dependencies lint-python lint-types lint-node lint-c lint-header lint-dotnet lint-java lint-php lint-ruby lint-go lint-words lint-modules lint-shell lint-manifests lint-workflows
# Seconds after which a suite is ended, with the builds of a clean clone.
SUITE_LIMIT = $(if $(PGENTRA_LONG),7200,1800)

.DEFAULT_GOAL := help
.PHONY: help prerequisites demo demo-engines demo-python demo-node test test-all bench bench-node plots soak lint fuzz docs docs-reference build libpgentra libpgentra-testing libpgentra-release wheel npm nuget jar cli go-archive emulator-packages advisories install clean test-c-rust $(SUITES) $(LINTS)

help:
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo 'parts of make test: $(SUITES)' && echo 'parts of make lint: $(LINTS)'

prerequisites:
	@tools/prerequisites.sh

# Demo

demo: prerequisites ## watch programs log in to a real PostgreSQL with Entra tokens
	@$(MAKE) --no-print-directory --jobs=3 demo-engines demo-python demo-node && demo/install_engines.sh
	@PYTHONPATH="$(abspath .cache/demo)" $(RUN) --postgres demo python demo/demo.py

# One build compiles what the languages share once.
demo-engines:
	@echo '[pgentra] building the emulator and the engine for every language, profile $(PROFILE)'
	@CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false $(CARGO_BUILD) -p pgentra-emulator -p pgentra-cli -p pgentra-c -p pgentra-python -p pgentra-node -p pgentra-java

demo-python:
	@"$(PYTHON)" tools/environment.py venv demo >/dev/null

demo-node:
	@$(OPTIONAL) "Node's samples" npm tools/node.sh packages examples/node

# Tests

test: prerequisites ## every test; the last line adds up all languages
	@MAKE="$(MAKE)" "$(PYTHON)" tools/tally.py $(SUITES:%=%=$(SUITE_LIMIT))

# 200 exits of each kind instead of 20, each driver's pool by itself, ten minutes of all pools, every test in each Python.
test-all: export PGENTRA_LONG := 1
test-all: export PGENTRA_EXITS := 200
test-all: export PYTEST_TIMEOUT := 1200
test-all: test ## the same with what takes hours

test-core: prerequisites
	@$(CARGO_TEST) -p pgentra -- --show-output

test-proxy: prerequisites
	@$(CARGO_TEST) -p pgentra-proxy -- --show-output

test-emulator: prerequisites
	@$(RUN) --postgres none $(CARGO_TEST) -p pgentra-emulator -- --show-output

# The emulator's wheel and npm packages, unsupported platforms, the files for containers.
test-packages: build
	@$(CARGO_BUILD) -p pgentra-cli
	@$(RUN) newest $(PYTEST) emulator/tests tests/packages

# The drivers of Rust.
test-drivers: prerequisites
	@$(RUN) --postgres none $(CARGO_TEST) -p pgentra-drivers --all-features -- --show-output

# The Azure SDKs of Python, Node and .NET are clients of one command.
test-cli: build
	@$(CARGO_BUILD) -p pgentra-cli
	@$(CARGO_TEST) -p pgentra-cli -- --show-output
	@$(OPTIONAL) "Node's part of test-cli" npm tools/node.sh packages bindings-node
	@$(RUN) --postgres newest $(PYTEST) cli/tests

test-python: build
	@$(RUN) --postgres every $(PYTEST) bindings-python/tests

test-e2e: build
	@$(RUN) --postgres every $(PYTEST) tests/e2e

# The oldest supported SQLAlchemy, in which all connections share one dictionary of parameters, and the oldest drivers.
test-sqlalchemy-2.0: build
	@$(RUN) --postgres sqlalchemy-2.0 $(PYTEST) tests/e2e/test_plaintext.py tests/e2e/test_service_connector.py
	@$(RUN) --postgres sqlalchemy-2.0 $(PYTEST) $(patsubst %,tests/e2e/test_%.py,sqlalchemy drivers features failures moving) -k sqlalchemy

# The same configuration in the Azure SDKs and here: compares the requests on the wire.
test-compare: build
	@$(OPTIONAL) "Node's part of test-compare" npm tools/node.sh addon
	@$(RUN) --postgres newest $(PYTEST) tests/compare

test-node: build
	@$(RUN) --postgres none tools/node.sh test

test-c: build libpgentra-testing test-c-rust
	@$(RUN) --postgres newest $(PYTEST) bindings-c/tests

test-c-rust: prerequisites
	@$(CARGO_TEST) -p pgentra-ffi -- --show-output
	@MIRIFLAGS=-Zmiri-ignore-leaks $(OPTIONAL) Miri 'cargo +nightly miri' cargo +nightly miri test --quiet -p pgentra-ffi -- string handles

test-dotnet: build libpgentra-testing
	@$(RUN) --postgres none tools/dotnet.sh test

test-java: build
	@$(RUN) --postgres none tools/java.sh test

# The Kotlin that uniffi generates.
test-uniffi: build
	@$(RUN) --postgres none tools/uniffi.sh test

test-go: build
	@$(RUN) --postgres none tools/go.sh test

test-php: build libpgentra-testing
	@$(RUN) --postgres newest tools/php.sh test

test-ruby: build libpgentra-testing
	@$(RUN) --postgres newest tools/ruby.sh test

# The documentation site in Chromium.
test-docs: export PGENTRA_SITE = $(BUILD)/site
test-docs: docs
	@$(RUN) docs-tests $(PYTEST) tests/docs

# The time for each target.
SECONDS = 60
fuzz: prerequisites ## fuzz every target of tests/fuzz for SECONDS=60; new inputs are kept in .cache/fuzz
	@$(OPTIONAL) fuzzing 'cargo +nightly' tools/fuzz.sh run $(SECONDS)

# Lints

lint: $(LINTS) ## formats, lints, types, dependencies, texts and generated files

RUST_FEATURES = --features pgentra-node/testing,pgentra-python/testing,pgentra-drivers/sqlx,pgentra-drivers/deadpool-postgres,pgentra-drivers/diesel-async

lint-rust:
	@tools/prerequisites.sh lint
	cargo fmt --all --check && cargo clippy --quiet --workspace --all-targets $(RUST_FEATURES) -- -D warnings

lint-fuzz: prerequisites
	@$(OPTIONAL) 'the fuzz targets' 'cargo +nightly' tools/fuzz.sh check

lint-rustdoc: export RUSTDOCFLAGS := -D warnings -A rustdoc::private-intra-doc-links
lint-rustdoc: prerequisites
	cargo doc --quiet --no-deps --workspace $(RUST_FEATURES)

lint-generated: prerequisites
	cargo xtask generate --check
	@"$(PYTHON)" benchmarks/report.py check
	@"$(PYTHON)" tools/public_api.py --check

lint-dependencies: prerequisites
	@$(RUN) cargo-deny cargo deny --log-level error check bans licenses sources

# Needs a network, so that it is no part of `make lint`.
advisories: prerequisites
	@$(RUN) cargo-deny cargo deny --log-level error check advisories

lint-python: prerequisites
	@$(RUN) tools ruff format --check --quiet .
	@$(RUN) tools ruff check --quiet .

# Each folder of tests has a module `conftest`, so that each is checked by itself.
TYPED = bindings-python/python emulator/python/pgentra_emulator tools demo examples/python benchmarks tests/e2e tests/compare tests/packages tests/support
lint-types: prerequisites
	@$(RUN) newest sh -ec 'mypy $(TYPED); for tests in bindings-python/tests bindings-c/tests bindings-php/tests bindings-ruby/tests cli/tests emulator/tests tests/docs; do mypy $$tests; done'
	@$(RUN) newest python -m mypy.stubtest --mypy-config-file mypy.ini pgentra._native

lint-node: prerequisites
	@tools/node.sh lint

lint-c: prerequisites
	cargo clippy --quiet -p pgentra-ffi -p pgentra-c --all-targets --features testing -- -D warnings
	@$(RUN) tools sh -ec 'git ls-files -co --exclude-standard "*.c" "*.cpp" "*.hpp" "examples/*.h" "bindings-c/tests/*.h" bindings-c/include/pgentra_libpq.h | xargs clang-format --dry-run -Werror'

lint-header: prerequisites
	cargo xtask header --check
	@$(OPTIONAL) doxygen doxygen sh -c 'cd bindings-c && doxygen'

lint-dotnet: libpgentra
	@tools/dotnet.sh lint

lint-java: prerequisites
	@tools/java.sh lint

lint-go: prerequisites
	@tools/go.sh lint

lint-php:
	@tools/php.sh lint

lint-ruby:
	@tools/ruby.sh lint

lint-words: prerequisites
	@"$(PYTHON)" tools/check_text.py

lint-modules: prerequisites
	@"$(PYTHON)" tools/check_cycles.py

lint-shell: prerequisites
	@$(RUN) tools shellcheck tools/*.sh tools/docs/*.sh demo/*.sh bindings-c/install/*.sh .ci/run

lint-manifests: prerequisites
	@$(RUN) tools python tools/manifests.py check

lint-workflows: prerequisites
	@$(RUN) tools tools/go.sh actionlint

# Measurements

# The parts, all of them if empty: rust python c php ruby dotnet node java go proxy.
ONLY =
bench: PROFILE := release
bench: build $(if $(filter proxy,$(or $(ONLY),proxy)),cli) ## measure against the libraries people use today, into benchmarks/results.md; ONLY=python measures a part
	@$(RUN) --postgres newest python benchmarks/run.py $(ONLY)
	@$(if $(filter node,$(or $(ONLY),node)),$(OPTIONAL) "Node's measurements" npm $(MAKE) bench-node)
	@$(MAKE) --no-print-directory plots
	@$(if $(filter proxy,$(or $(ONLY),proxy)),"$(PYTHON)" benchmarks/report.py limits)

bench-node: PROFILE := release
bench-node: npm
	@$(RUN) --postgres none tools/node.sh bench

plots: ## draw the figures of the last measurements as SVG into docs/images
	@$(RUN) plots python benchmarks/plot.py

# The length and the seed of a soak. ONLY="python proxy" runs a part; then the figures go to .cache/soak, not to the docs.
MINUTES = 15
SEED = 1
soak: build ## pools of every language and sessions through the proxy, with short tokens and random faults, for MINUTES=15
	@$(CARGO_BUILD) -p pgentra-cli
	@MINUTES=$(MINUTES) SEED=$(SEED) tools/soak.sh $(ONLY)

# Documentation

docs: ## the documentation site, in target/site; with the reference of Python
	@built=$$(BUILD="$(BUILD)" NO_MKDOCS_2_WARNING=1 $(RUN) docs mkdocs build --site-dir "$(BUILD)/site" 2>&1) || { echo "$$built"; exit 1; }
	@echo "built: python3 -m http.server --bind 127.0.0.1 --directory $(BUILD)/site"

docs-reference: prerequisites ## the reference of each language that this machine has tools for, and the site with it
	@BUILD="$(BUILD)" tools/docs/reference.sh && $(MAKE) --no-print-directory docs

# Builds

build: prerequisites ## the engine and the emulator
	@echo '[pgentra] building the engine and the emulator, profile $(PROFILE)'
	@$(CARGO_BUILD) -p pgentra -p pgentra-emulator

libpgentra: prerequisites
	@$(CARGO_BUILD) -p pgentra-c

# A copy of the library that runs the vectors and in which tests can cause panics; then the library itself.
libpgentra-testing: prerequisites
	@$(CARGO_BUILD) -p pgentra-c --features testing && mkdir -p "$(TARGET)/testing" && cp "$(TARGET)/libpgentra.so" "$(TARGET)/testing"
	@$(CARGO_BUILD) -p pgentra-c

# Releases run with an old glibc. Their symbols are in a file of their own.
libpgentra-release: GLIBC_TARGET = $(shell "$(PYTHON)" tools/glibc.py target)
libpgentra-release: prerequisites
	@$(RUN) zig cargo zigbuild --quiet --profile shared -p pgentra-c --target $(GLIBC_TARGET)
	@"$(PYTHON)" tools/glibc.py check "$(BUILD)/$(basename $(basename $(GLIBC_TARGET)))/shared/libpgentra.so"

install: PROFILE := shared
install: libpgentra ## libpgentra, and the program if built, below PREFIX=/usr/local, LIBDIR=PREFIX/lib, DESTDIR=
	@bindings-c/install/install.sh "$(TARGET)" "$(PREFIX)" "$(DESTDIR)"
	@BUILD="$(BUILD)" tools/cli.sh install "$(PREFIX)" "$(DESTDIR)"

cli: prerequisites ## the program pgentra, static on Linux, with completions and man pages, in target/cli
	@BUILD="$(BUILD)" tools/cli.sh build

wheel: PROFILE := release
wheel: prerequisites ## the Python wheel that ships
	@"$(PYTHON)" tools/environment.py wheel

npm: PROFILE := release
npm: prerequisites ## the npm packages, in .cache/npm
	@tools/node.sh pack

jar: PROFILE := release
jar: prerequisites ## the jar of the JVM binding, in .cache/java
	@tools/java.sh jar

go-archive: PROFILE := release
go-archive: prerequisites ## the archive that Go programs in a clone link, in bindings-go/lib
	@tools/go.sh archive

emulator-packages: PROFILE := release
emulator-packages: prerequisites ## the emulator as a program, a wheel and npm packages, in .cache/emulator
	@for form in binary wheel npm; do tools/emulator.sh $$form || exit 1; done

nuget: libpgentra-release ## the .NET packages, in target/nuget
	@tools/dotnet.sh pack

clean: ## remove everything that was built
	cargo clean
	rm -rf .cache
