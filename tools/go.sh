#!/bin/sh
# Tests, checks and builds Go's binding.
#
#   tools/go.sh test         all modules, with an archive that runs the vectors; PGENTRA_LONG=1 adds what takes long
#   tools/go.sh lint         formats, go vet, staticcheck where it is reachable, and the header beside the Go files
#   tools/go.sh actionlint   checks the workflows of .github, with shellcheck if it is in PATH
#   tools/go.sh archive      the archive for this platform, into bindings-go/lib, which programs in a clone link
#
# Variables: PGENTRA_TARGET (where cargo left libpgentra), PROFILE, PYTHON.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
[ -x /usr/local/go/bin/go ] && PATH=$PATH:/usr/local/go/bin
export GOTOOLCHAIN="${GOTOOLCHAIN:-local}" GOWORK=off GOFLAGS="${GOFLAGS:-} -buildvcs=false"

MODULES='. pgxentra pqentra azcoreentra tests ../examples/go ../benchmarks/go'

# Prints why, and ends the script, if this machine has no Go that is new enough. The packages need 1.24, what is tested with them
# needs 1.26.
need_go() {
    version=$(go version 2>/dev/null || echo none)
    case "$version" in
        *go1.2[6-9]* | *go1.[3-9][0-9]*) ;;
        *) echo "$1: Go 1.26 or later (go): $version on this machine"; exit 0 ;;
    esac
    if ! command -v cc >/dev/null; then
        echo "$1: Go's binding: no C compiler (cc) on this machine"
        exit 0
    fi
}

# archive NAME FEATURES...: builds the library and makes its archive in bindings-go/lib, unless the library is unchanged.
archive() {
    made=bindings-go/lib/$(go env GOOS)_$(go env GOARCH)/$1
    shift
    cargo build --quiet --profile "$PROFILE" -p pgentra-c "$@"
    if [ ! -f "$made" ] || [ "$PGENTRA_TARGET/libpgentra.a" -nt "$made" ]; then
        bindings-c/install/archive.sh "$PGENTRA_TARGET" "$made"
    fi
}

# go_test MODULE ARGUMENTS...: go's cache does not see a changed archive: -count=1 links the tests again.
go_test() {
    module=$1
    shift
    (cd "bindings-go/$module" && go test -json -count=1 -timeout 25m -tags pgentra_testing "$@" . 2>&1) || true
}

# The tests wait more than they compute, so that the modules run at the same time.
run_tests() {
    need_go skipped
    archive libpgentra_testing.a --features testing
    results=$(mktemp -d)
    trap 'rm -rf "$results"' EXIT
    for module in . pgxentra pqentra azcoreentra tests; do
        go_test "$module" >"$results/tests-$(basename "$module").json" &
    done
    wait
    # The cases that are concurrent, with the race detector. Compiling the packages for it takes a minute once.
    go_test . -race -run 'Login|Close|Custom|Provider' -skip warm_allocates >"$results/race.json"
    cat "$results"/*.json | "$PYTHON" tools/go_results.py
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

# Checks the workflows, and that actions of others are named by a commit: GitHub's and NuGet's own by their major version.
workflows() {
    need_go 'not tried'
    tool=$root/.cache/go/actionlint
    if [ ! -x "$tool" ] && ! GOBIN=$root/.cache/go go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 >/dev/null 2>&1; then
        echo 'not tried: actionlint: it cannot be downloaded'
        exit 0
    fi
    "$tool" -color=false
    ! grep -nE 'uses: ' .github/workflows/*.yml .github/actions/*/*.yml |
        grep -vE 'uses: (\./|(actions|NuGet)/[a-z-]+@v[0-9]+$|[^@]+@[0-9a-f]{40} # v)'
}

case "${1:-}" in
    test) run_tests ;;
    lint) lint ;;
    actionlint) workflows ;;
    archive) need_go skipped && archive libpgentra.a ;;
    *) sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2; exit 2 ;;
esac
