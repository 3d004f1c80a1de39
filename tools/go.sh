#!/bin/sh
# Tests, checks and builds Go's binding.
#
#   tools/go.sh test         all modules, with an archive that runs the vectors; PGENTRA_LONG=1 adds what takes long
#   tools/go.sh lint         formats, go vet, staticcheck where it is reachable, and the header beside the Go files
#   tools/go.sh archive      the archive for this platform, into bindings-go/lib, which programs in a clone link
#
# Variables: PGENTRA_TARGET (where cargo left libpgentra), PROFILE, PYTHON.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
[ -x /usr/local/go/bin/go ] && PATH=$PATH:/usr/local/go/bin
export GOTOOLCHAIN="${GOTOOLCHAIN:-local}" GOWORK=off GOFLAGS="${GOFLAGS:-} -buildvcs=false"

MODULES='. pgxentra pqentra azcoreentra tests ../examples/go ../benchmarks/go'

# Prints why, and ends the script, if this machine has no Go that is new enough.
need_go() {
    version=$(go version 2>/dev/null || echo none)
    case "$version" in
        *go1.2[4-9]* | *go1.[3-9][0-9]*) ;;
        *) echo "$1: Go 1.24 or later (go): $version on this machine"; exit 0 ;;
    esac
    if ! command -v cc >/dev/null; then
        echo "$1: Go's binding: no C compiler (cc) on this machine"
        exit 0
    fi
}

# The folder of this platform in bindings-go/lib.
platform() { echo "bindings-go/lib/$(go env GOOS)_$(go env GOARCH)"; }

# archive FOLDER FEATURES...: builds the library and makes its archive, unless the library is unchanged.
archive() {
    folder=$1
    shift
    cargo build --quiet --profile "$PROFILE" -p pgentra-c "$@"
    mkdir -p "$folder"
    if [ ! -f "$folder/libpgentra.a" ] || [ "$PGENTRA_TARGET/libpgentra.a" -nt "$folder/libpgentra.a" ]; then
        bindings-c/install/archive.sh "$PGENTRA_TARGET" "$folder/libpgentra.a"
    fi
}

# go's cache does not see a changed archive: -count=1 links the tests again.
run_tests() {
    need_go skipped
    archive "$(platform)/testing" --features testing
    export PGENTRA_REPOSITORY="$root"
    for module in . pgxentra pqentra azcoreentra tests; do
        (cd "bindings-go/$module" && go test -json -count=1 -timeout 25m -tags pgentra_testing ./... 2>&1)
    done | "$PYTHON" tools/go_results.py
}

lint() {
    need_go 'not tried'
    status=0
    # The header is a copy, because `go mod vendor` keeps only files in the folders of packages.
    cmp bindings-c/include/pgentra.h bindings-go/pgentra.h || { echo 'copy bindings-c/include/pgentra.h to bindings-go'; status=1; }
    found=$(gofmt -l bindings-go examples/go benchmarks/go)
    [ -z "$found" ] || { echo "gofmt -w: $found"; status=1; }
    for module in $MODULES; do
        (cd "bindings-go/$module" && go vet -tags pgentra_testing ./... && go mod tidy -diff) || status=1
    done
    if staticcheck=$(install_staticcheck); then
        for module in $MODULES; do
            (cd "bindings-go/$module" && "$staticcheck" -tags pgentra_testing -checks inherit,-ST1003 ./...) || status=1
        done
    else
        echo 'not tried: staticcheck: it cannot be downloaded'
    fi
    exit $status
}

install_staticcheck() {
    tool=$root/.cache/go/staticcheck
    if [ ! -x "$tool" ]; then
        GOBIN=$root/.cache/go go install honnef.co/go/tools/cmd/staticcheck@2026.1 >/dev/null 2>&1 ||
            GOBIN=$root/.cache/go go install honnef.co/go/tools/cmd/staticcheck@latest >/dev/null 2>&1 || return 1
    fi
    echo "$tool"
}

case "${1:-}" in
    test) run_tests ;;
    lint) lint ;;
    archive) need_go skipped && archive "$(platform)" ;;
    *) sed -n 's/^# \{0,1\}//; 2,8p' "$0" >&2; exit 2 ;;
esac
