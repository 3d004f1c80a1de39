#!/bin/sh
# Packs the emulator for test suites that have no Rust.
#
#   tools/emulator.sh wheel [TARGET]    the wheel for PyPI, into .cache/emulator
#   tools/emulator.sh npm [TARGET]      the npm packages of this machine's platform, or of TARGET, into the same folder
#   tools/emulator.sh binary [TARGET]   the program, into the same folder, as pgentra-emulator-TARGET
#
# On Linux the release needs glibc 2.28, or with a TARGET for musl no library at all.
# Variables: PROFILE (`dev` or `release`), PYTHON.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3} PROFILE=${PROFILE:-dev}
build=${CARGO_TARGET_DIR:-$PWD/target} made=$PWD/.cache/emulator
mkdir -p "$made"

host=$(rustc -vV | sed -n 's/^host: //p')
target=${2:-$host}

# Prints the path of the program for the target.
program() {
    case "$PROFILE $target" in
        dev*)
            cargo build --quiet -p pgentra-emulator >&2
            echo "$build/debug/pgentra-emulator"
            return
            ;;
        *linux*)
            linked=$target
            case "$target" in *gnu) linked=$target.2.28 ;; esac
            PATH="$("$PYTHON" tools/environment.py zig):$PATH" \
                cargo zigbuild --quiet --profile "$PROFILE" -p pgentra-emulator --target "$linked" >&2
            ;;
        *) cargo build --quiet --profile "$PROFILE" -p pgentra-emulator --target "$target" >&2 ;;
    esac
    built=$build/$target/$PROFILE/pgentra-emulator
    case "$target" in *linux-gnu) "$PYTHON" tools/glibc.py check "$built" >&2 ;; esac
    echo "$built"
}

# npm's name of the target.
platform() {
    case "$target" in
        x86_64-*) machine=x64 ;;
        aarch64-*) machine=arm64 ;;
        *) echo "no npm package for $target" >&2 && exit 2 ;;
    esac
    case "$target" in
        *linux-gnu) echo "linux-$machine-gnu" ;;
        *linux-musl) echo "linux-$machine-musl" ;;
        *apple-darwin) echo "darwin-$machine" ;;
        *) echo "no npm package for $target" >&2 && exit 2 ;;
    esac
}

wheel() {
    set -- "$("$PYTHON" tools/environment.py tools)/bin/maturin" build --quiet --profile "$PROFILE" --out "$made"
    case "$PROFILE $target" in
        dev*) ;;
        *linux-gnu) set -- "$@" --target "$target" --zig --compatibility manylinux_2_28 ;;
        *linux-musl) set -- "$@" --target "$target" --zig --compatibility musllinux_1_2 ;;
        *) set -- "$@" --target "$target" ;;
    esac
    rm -f "$made"/*.whl
    (cd emulator/python && PATH="$("$PYTHON" ../../tools/environment.py zig):$PATH" "$@")
    ls "$made"/*.whl
}

case "${1:-}" in
    wheel) wheel ;;
    npm)
        rm -f "$made"/*.tgz
        node emulator/npm/pack.mjs "$made" "$(platform)=$(program)"
        ;;
    binary) cp "$(program)" "$made/pgentra-emulator-$target" && ls "$made/pgentra-emulator-$target" ;;
    *) sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2; exit 2 ;;
esac
