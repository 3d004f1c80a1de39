#!/bin/sh
# Lists everything that is missing on this machine at once, each with the command that installs it.
#
#   tools/prerequisites.sh [lint]    exit status 1 if anything is missing; silent if nothing is
#   tools/prerequisites.sh python    prints the Python that runs the tools: $PYTHON, else the first good one of PATH
set -u

oldest_python=3.10
# That of pgentra-drivers; the other crates need 1.88.
oldest_rust=1.94
oldest_node=20
missing=0

# By the package manager of this machine: Debian's package, Fedora's, Alpine's, Homebrew's.
install_command() {
    if command -v apt-get >/dev/null; then echo "apt-get install $1"
    elif command -v dnf >/dev/null; then echo "dnf install $2"
    elif command -v apk >/dev/null; then echo "apk add $3"
    elif command -v brew >/dev/null; then echo "brew install $4"
    else echo "install it with this system's package manager"
    fi
}

miss() {
    [ "$missing" = 0 ] && echo "Missing on this machine:" >&2
    missing=1
    printf '  %-28s %s\n' "$1" "$2" >&2
}

# Whether $1 is a Python of that age or younger that can make virtual environments.
good_python() {
    "$1" -c "import ensurepip, sys, venv; sys.exit(sys.version_info < tuple(map(int, '$oldest_python'.split('.'))))" 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        candidates=$PYTHON
    else
        candidates="python3 python3.14 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3"
    fi
    for candidate in $candidates; do
        if good_python "$candidate"; then
            # A shim of a version manager must not change its mind later.
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

if [ "${1:-}" = python ]; then
    find_python
    exit
fi

command -v cc >/dev/null || miss "a C compiler (cc)" "$(install_command gcc gcc build-base gcc)"
command -v make >/dev/null || miss "make" "$(install_command make make make make)"

if ! command -v cargo >/dev/null; then
    miss "Rust >= $oldest_rust (cargo)" "https://rustup.rs"
else
    minor=$(rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
    [ "${minor:-0}" -ge "${oldest_rust#1.}" ] || miss "Rust >= $oldest_rust" "rustup update stable"
    if [ "${1:-}" = lint ]; then
        cargo fmt --version >/dev/null 2>&1 || miss "rustfmt" "rustup component add rustfmt"
        cargo clippy --version >/dev/null 2>&1 || miss "clippy" "rustup component add clippy"
    fi
fi

if ! find_python >/dev/null; then
    miss "Python >= $oldest_python with venv" "$(install_command 'python3 python3-venv' python3 python3 python3) (or set PYTHON)"
fi

# Node is optional: without it, its tests and measurements say so. One that is too old would only confuse.
if command -v node >/dev/null; then
    major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p')
    [ "${major:-0}" -ge "$oldest_node" ] || miss "Node >= $oldest_node (or none)" "https://nodejs.org"
    command -v npm >/dev/null || miss "npm, which belongs to Node" "$(install_command npm npm npm node)"
fi

exit $missing
