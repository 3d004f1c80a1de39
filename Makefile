# `make demo`, `make test`, `make bench`, `make lint`; the others are parts of these. All that they need besides the
# prerequisites, which each lists at once if they are missing, is made under target/ and .cache/ when its inputs changed.

# `dev` builds fast and is fast enough; `release` is what ships. `make test PROFILE=release` tests that.
PROFILE ?= dev

# The Python that runs the tools. The wheel is tested under the oldest and the newest one of this machine.
PYTHON ?= $(shell tools/prerequisites.sh python)

TARGET = $(abspath $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE)))
GLIBC = "$(PYTHON)" tools/glibc.py
ENVIRONMENT = PROFILE=$(PROFILE) "$(PYTHON)" tools/environment.py
EMULATOR = $(TARGET)/pgentra-emulator
# Whatever a test prints or logs is searched for secrets by tests/support/redaction.py; credential_matrix.py there tells what works.
PYTEST_OPTIONS = -q -rsfE --timeout $(if $(PGENTRA_LONG),1200,300) -p support.redaction -p support.credential_matrix --log-level DEBUG -o asyncio_default_fixture_loop_scope=function

TYPED = bindings-python/python tools demo examples/python benchmarks tests/e2e tests/compare tests/support

# What runs the emulator finds it and a PostgreSQL here.
PYTHON_PATH = tests
WITH_EMULATOR = PYTHONPATH="$(PYTHON_PATH)" PROFILE=$(PROFILE) PGENTRA_EMULATOR="$(EMULATOR)" \
    PGENTRA_POSTGRES_BIN="$$postgres" PGENTRA_TARGET="$(TARGET)"

# What `make test` and `make lint` are made of, in this order.
SUITES = test-core test-emulator test-python test-e2e test-sqlalchemy-2.0 test-compare test-node test-c test-dotnet
LINTS = lint-rust lint-python lint-node lint-c lint-dotnet lint-words

# Seconds after which a suite is ended, the builds of a clean clone included: to end what hangs.
SUITE_LIMIT = $(if $(PGENTRA_LONG),7200,1800)

.DEFAULT_GOAL := help
.PHONY: help prerequisites demo demo-engines demo-python demo-node test test-all bench bench-node bench-dotnet lint build libpgentra libpgentra-testing libpgentra-release wheel npm nuget install clean $(SUITES) $(LINTS)

help:
	@echo 'make demo   watch programs log in to a real PostgreSQL with Entra tokens'
	@echo 'make test   every test; its parts: $(SUITES)'
	@echo 'make test-all   the same, with what takes hours'
	@echo 'make bench  measure against the libraries people use today, into benchmarks/results.md; parts: bench-node, bench-dotnet'
	@echo 'make lint   format, lints, types and generated files; its parts: $(LINTS)'
	@echo 'make build  the engine and the emulator'
	@echo 'make wheel  the Python wheel that ships;  make npm  the npm packages;  make nuget  the .NET packages'
	@echo 'make install PREFIX=/usr/local DESTDIR=   libpgentra, for C and all that calls C'
	@echo 'make clean'

prerequisites:
	@tools/prerequisites.sh

# Every language's engine in one build, which compiles once what they share, while the drivers are installed; then each lies
# where its language looks for it. So a clean clone gets there in three minutes.
demo: PYTHON_PATH := $(abspath .cache/demo)
demo: prerequisites
	@$(MAKE) --no-print-directory --jobs=3 demo-engines demo-python $(if $(NPM),demo-node)
	@rm -rf .cache/demo && mkdir -p .cache/demo && cp -R bindings-python/python/pgentra .cache/demo && \
	    cp "$(TARGET)/lib_native.$(LIBRARY)" .cache/demo/pgentra/_native.abi3.so
	@$(if $(NPM),cp "$(TARGET)/libpgentra_node.$(LIBRARY)" "bindings-node/pgentra.$$(node -p "$(PLATFORM)").node")
	@postgres=$$($(ENVIRONMENT) postgres) && venv=$$($(ENVIRONMENT) venv demo) && \
	    $(WITH_EMULATOR) "$$venv/bin/python" demo/demo.py

NPM = $(shell command -v npm)
LIBRARY = $(if $(filter Darwin,$(shell uname)),dylib,so)
# As bindings-node/lib/native.js looks for it.
PLATFORM = [process.platform, process.arch, ...(process.platform === 'linux' ? ['gnu'] : [])].join('-')

demo-engines:
	@echo '[pgentra] building the emulator and the engine for every language, profile $(PROFILE)'
	@CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false cargo build --quiet --profile $(PROFILE) -p pgentra-emulator -p pgentra-c -p pgentra-python $(if $(NPM),-p pgentra-node)

demo-python:
	@$(ENVIRONMENT) venv demo >/dev/null

demo-node:
	@echo "[pgentra] installing Node's drivers" && $(call npm,examples/node)

test: prerequisites
	@MAKE="$(MAKE)" "$(PYTHON)" tools/tally.py $(SUITES:%=%=$(SUITE_LIMIT))

# With what takes too long for each change: 200 exits of each kind instead of 20, the expiry of tokens for every driver's pool
# by itself, ten minutes of all pools, more random inputs, and every test under each Python.
test-all: export PGENTRA_LONG := 1
test-all: export PGENTRA_EXITS := 200
test-all: test

bench: PROFILE := release
bench: build
	@postgres=$$($(ENVIRONMENT) postgres) && venv=$$($(ENVIRONMENT) venv newest) && \
	    $(WITH_EMULATOR) "$$venv/bin/python" benchmarks/run.py
	@if command -v npm >/dev/null; then $(MAKE) bench-node; else echo 'not tried: Node: none on this machine'; fi

lint: $(LINTS)

build: prerequisites
	@echo '[pgentra] building the engine and the emulator, profile $(PROFILE)'
	@cargo build --quiet --profile $(PROFILE) -p pgentra -p pgentra-emulator

# The shared and the static library.
libpgentra: prerequisites
	@cargo build --quiet --profile $(PROFILE) -p pgentra-c

# Built with symbols, which are put aside; `PROFILE=dev` is for trying out.
PREFIX ?= /usr/local
install: PROFILE := shared
install: libpgentra
	@bindings-c/install/install.sh "$(TARGET)" "$(PREFIX)" "$(DESTDIR)"

# As releases have it, on Linux for an old glibc; `bindings-c/install/install.sh` installs it.
libpgentra-release: prerequisites
	@target=$$($(GLIBC) target) && PATH="$$($(ENVIRONMENT) zig):$$PATH" \
	    cargo zigbuild --quiet --profile shared -p pgentra-c --target "$$target" && \
	    $(GLIBC) check "$(abspath $(or $(CARGO_TARGET_DIR),target))/$${target%%.*}/shared/libpgentra.so"

wheel: PROFILE := release
wheel: prerequisites
	@$(ENVIRONMENT) wheel

clean:
	cargo clean
	rm -rf .cache

# What passing tests print is shown too, for the search for secrets in all output.
test-core: prerequisites
	@cargo test --quiet --profile $(PROFILE) --no-fail-fast -p pgentra -- --show-output

test-emulator: prerequisites
	@postgres=$$($(ENVIRONMENT) postgres) && export PGENTRA_POSTGRES_BIN="$$postgres" && \
	    cargo test --quiet --profile $(PROFILE) --no-fail-fast -p pgentra-emulator -- --show-output

# $(call pytest,VENVS,TESTS)
define pytest
	@postgres=$$($(ENVIRONMENT) postgres) || exit 1; status=0; \
	for name in $(1); do \
	    venv=$$($(ENVIRONMENT) venv $$name) || { status=1; continue; }; \
	    echo "[pgentra] $(2) under $$("$$venv/bin/python" -VV | tr '\n' ' ')($$name)"; \
	    PGENTRA_PYTHON=$$name $(WITH_EMULATOR) "$$venv/bin/python" -m pytest $(PYTEST_OPTIONS) $(2) || status=1; \
	done; exit $$status
endef
EVERY_PYTHON = $$($(ENVIRONMENT) pythons | cut -d ' ' -f 1)

test-python: build
	@$(ENVIRONMENT) pythons | grep -q ^free-threaded || echo 'not tried: free-threaded Python: none on this machine'
	$(call pytest,$(EVERY_PYTHON),bindings-python/tests)

test-e2e: build
	$(call pytest,$(EVERY_PYTHON),tests/e2e)

# The oldest SQLAlchemy that is supported, which shares one dictionary of parameters among all connections, and the oldest
# drivers.
test-sqlalchemy-2.0: build
	$(call pytest,sqlalchemy-2.0,tests/e2e/test_plaintext.py tests/e2e/test_service_connector.py)
	$(call pytest,sqlalchemy-2.0,$(addprefix tests/e2e/test_,$(addsuffix .py,sqlalchemy drivers features failures moving)) -k sqlalchemy)

# The same configuration through the Azure SDKs and through ours: what reaches the wire.
test-compare: build
	@if command -v npm >/dev/null; then \
	    $(call npm,bindings-node) && PROFILE=$(PROFILE) npm run --silent --prefix bindings-node build; fi
	$(call pytest,newest,tests/compare)

# A copy of the library that can run the vectors and into which panics can be canary, then the library itself.
libpgentra-testing: prerequisites
	@mkdir -p "$(TARGET)/testing" && \
	    cargo build --quiet --profile $(PROFILE) -p pgentra-c --features testing && \
	    cp "$(TARGET)/libpgentra.so" "$(TARGET)/testing" && $(MAKE) --no-print-directory libpgentra

# The programs under sanitizers and Valgrind, the vectors, the samples.
test-c: build libpgentra-testing
	@cargo test --quiet --profile $(PROFILE) -p pgentra-c -- --show-output
	@if cargo +nightly miri --version >/dev/null 2>&1; then \
	    MIRIFLAGS=-Zmiri-ignore-leaks cargo +nightly miri test --quiet -p pgentra-c -- text handles; \
	    else echo 'not tried: Miri: no toolchain of this machine has it'; fi
	$(call pytest,newest,bindings-c/tests)

RUST_FEATURES = --features pgentra-node/testing,pgentra-python/testing

lint-rust:
	@tools/prerequisites.sh lint
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets $(RUST_FEATURES) -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' \
	    cargo doc --quiet --no-deps --workspace $(RUST_FEATURES)
	cargo xtask generate --check

lint-python: prerequisites
	@tools=$$($(ENVIRONMENT) tools) && venv=$$($(ENVIRONMENT) venv newest) && set -ex && \
	    "$$tools/bin/ruff" format --check --quiet . && "$$tools/bin/ruff" check --quiet . && \
	    "$$venv/bin/mypy" $(TYPED) && "$$venv/bin/mypy" bindings-python/tests && "$$venv/bin/mypy" bindings-c/tests && \
	    "$$venv/bin/python" -m mypy.stubtest --mypy-config-file mypy.ini pgentra._native

# pgentra.h is generated.
C_SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.cpp' '*.hpp' 'examples/*.h' 'bindings-c/tests/*.h')

lint-c: prerequisites
	cargo xtask header --check
	cargo clippy --quiet -p pgentra-c --all-targets --features testing -- -D warnings
	@tools=$$($(ENVIRONMENT) tools) && set -x && "$$tools/bin/clang-format" --dry-run -Werror $(C_SOURCES)
	@if command -v doxygen >/dev/null; then cd bindings-c && doxygen; else echo 'not tried: doxygen'; fi

lint-words: prerequisites
	@"$(PYTHON)" tools/check_words.py
	@"$(PYTHON)" tools/check_cycles.py
	@if command -v shellcheck >/dev/null; then shellcheck tools/*.sh bindings-c/install/*.sh .ci/run; else echo 'not tried: shellcheck'; fi

# $(call npm,FOLDER): the packages of a folder's lock file, if they are not there yet.
npm = (cd $(1) && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent --no-audit --no-fund; })

# The addon, and what its tests and samples need.
node = $(call npm,bindings-node) && $(call npm,examples/node) && \
    npm run --silent --prefix bindings-node build $(if $(filter dev,$(PROFILE)),,-- --profile $(PROFILE))

# pg, Sequelize and every sample of examples/node through the front door; vectors, types, tarballs, workers.
test-node: build
	@command -v npm >/dev/null || { echo 'skipped: Node 20 or later with npm: none on this machine'; exit 0; }; \
	    postgres=$$($(ENVIRONMENT) postgres) && $(node) && \
	    $(WITH_EMULATOR) npm run --silent --prefix bindings-node test

# The addon's build makes the types that its JavaScript is checked against.
lint-node: prerequisites
	@command -v npm >/dev/null || { echo 'not tried: Node: none on this machine'; exit 0; }; \
	    $(call npm,bindings-node) && npm run --silent --prefix bindings-node build && \
	    npm run --silent --prefix bindings-node lint

# The tarballs that npm gets from this machine, in .cache/npm; on Linux for an old glibc too.
npm: PROFILE := release
npm: prerequisites
	@rm -rf .cache/npm && mkdir -p .cache/npm/addons && $(call npm,bindings-node) && \
	    cross= && if [ "$$(uname)" = Linux ]; then \
	        PATH="$$($(ENVIRONMENT) zig):$$PATH"; cross="--cross-compile --target $$($(GLIBC) target)"; fi && \
	    npm run --silent --prefix bindings-node build:release -- --output-dir ../.cache/npm/addons $$cross && \
	    if [ "$$(uname)" = Linux ]; then $(GLIBC) check .cache/npm/addons/*.node; fi && \
	    node bindings-node/scripts/pack.mjs .cache/npm .cache/npm/addons

# A part of `make bench`: measures those tarballs as npm installs them.
bench-node: PROFILE := release
bench-node: build npm
	@postgres=$$($(ENVIRONMENT) postgres) && $(call npm,benchmarks/node) && \
	    $(WITH_EMULATOR) node benchmarks/node/run.mjs .cache/npm

# .NET finds the engine by an environment variable, which MSBuild reads as a property.
DOTNET = cd bindings-dotnet && PgEntraLibrary="$(LIBPGENTRA)"
LIBPGENTRA = $(TARGET)/libpgentra.so

# $(call dotnet_or,WORD): ends a recipe, telling why, where there is no .NET SDK that is new enough.
dotnet_or = sdk=$$(dotnet --version 2>/dev/null || echo none); case "$$sdk" in [1-9][0-9].*) ;; \
    *) echo "$(1): .NET SDK 10 or later (dotnet): $$sdk on this machine"; exit 0;; esac

# Npgsql and EF Core through the front door; vectors; the Azure SDK both ways; the packages installed, as a single file and
# compiled ahead; every sample of examples/dotnet. `dotnet test` hides what passing tests print.
test-dotnet: LIBPGENTRA := $(TARGET)/testing/libpgentra.so
test-dotnet: build libpgentra-testing
	@$(call dotnet_or,skipped); \
	    works="$(TARGET)/works-in-dotnet" && : >"$$works" && postgres=$$($(ENVIRONMENT) postgres) || exit 1; \
	    $(DOTNET) $(WITH_EMULATOR) PGENTRA_WORKS="$$works" dotnet test --project tests/PgEntra.Tests -v q; \
	    status=$$?; sort -u "$$works"; exit $$status

# Every framework is built with warnings as errors; what is public is compared with PublicAPI.*.txt.
lint-dotnet: libpgentra
	@$(call dotnet_or,not tried); $(DOTNET) sh -ec '\
	    dotnet build src/PgEntra.AzureCore -v q -nologo; \
	    for project in PgEntra.slnx ../examples/dotnet ../benchmarks/dotnet; do \
	        dotnet restore $$project -v q -nologo; dotnet format $$project --no-restore --verify-no-changes -v q; done'

# The packages that ship, into target/nuget: with the library of releases, stripped.
nuget: libpgentra-release
	@target=$$($(GLIBC) target) && folder="$(abspath $(or $(CARGO_TARGET_DIR),target))" && \
	    built="$$folder/$${target%%.*}/shared" && mkdir -p "$$built/stripped" && \
	    export PgEntraLibrary="$$built/stripped/libpgentra.so" && \
	    strip --strip-unneeded -o "$$PgEntraLibrary" "$$built/libpgentra.so" && cd bindings-dotnet && \
	    for project in PgEntra PgEntra.AzureCore; do \
	        dotnet pack src/$$project -c Release -v q -nologo -o "$$folder/nuget" || exit 1; done

# Its table of benchmarks/results.md alone.
bench-dotnet: PROFILE := release
bench-dotnet: build libpgentra
	@postgres=$$($(ENVIRONMENT) postgres) && venv=$$($(ENVIRONMENT) venv newest) && \
	    $(WITH_EMULATOR) "$$venv/bin/python" benchmarks/run.py dotnet
