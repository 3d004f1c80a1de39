#!/bin/sh
# Builds, tests and packs Node's binding.
#
#   tools/node.sh packages FOLDER    installs the packages of a folder's lock file, unless they are there
#   tools/node.sh addon              builds the addon with its packages
#   tools/node.sh test | lint        tests, or checks, the binding, its samples and its benchmarks
#   tools/node.sh pack               builds the tarballs that npm gets from this machine, into .cache/npm
#   tools/node.sh bench              measures these tarballs
#
# Variables: PROFILE (`dev` or `release`), PYTHON.
set -eu
cd "$(dirname "$0")/.."

packages() (
    cd "$1"
    [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent --no-audit --no-fund
)

addon() {
    packages bindings-node
    if [ "${PROFILE:-dev}" = dev ]; then
        npm run --silent --prefix bindings-node build
    else
        npm run --silent --prefix bindings-node build -- --profile "$PROFILE"
    fi
}

# On Linux the addon is built for an old glibc.
pack() {
    rm -rf .cache/npm
    mkdir -p .cache/npm/addons
    packages bindings-node
    if [ "$(uname)" = Linux ]; then
        zig=$("$PYTHON" tools/environment.py zig) target=$("$PYTHON" tools/glibc.py target)
        PATH="$zig:$PATH" npm run --silent --prefix bindings-node build:release -- \
            --output-dir ../.cache/npm/addons --cross-compile --target "$target"
        "$PYTHON" tools/glibc.py check .cache/npm/addons/*.node
    else
        npm run --silent --prefix bindings-node build:release -- --output-dir ../.cache/npm/addons
    fi
    node bindings-node/scripts/pack.mjs .cache/npm .cache/npm/addons
}

command=${1:-}
if ! command -v npm >/dev/null; then
    case "$command" in
        test) echo 'skipped: Node 20 or later with npm: none on this machine'; exit 0 ;;
        lint) echo 'not tried: Node: none on this machine'; exit 0 ;;
    esac
fi
case "$command" in
    packages) packages "$2" ;;
    addon) addon ;;
    test) addon && packages examples/node && npm run --silent --prefix bindings-node test ;;
    # The build makes the types that the JavaScript is checked against.
    lint) PROFILE=dev addon && npm run --silent --prefix bindings-node lint ;;
    pack) pack ;;
    bench)
        packages benchmarks/node
        node benchmarks/node/run.mjs .cache/npm .cache/npm/table.json
        "$PYTHON" benchmarks/report.py add .cache/npm/table.json
        ;;
    *) sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2; exit 2 ;;
esac
