#!/bin/sh
# Tests, checks and packs .NET's binding.
#
#   tools/dotnet.sh test | lint    tests, or checks, the binding, its samples and its benchmarks
#   tools/dotnet.sh pack           builds the packages that ship, into target/nuget
#
# Variables: PGENTRA_TARGET (where cargo left libpgentra), PYTHON.
set -eu
cd "$(dirname "$0")/../bindings-dotnet"

# Prints why, and ends the script, if this machine has no .NET SDK that is new enough.
need_sdk() {
    sdk=$(dotnet --version 2>/dev/null || echo none)
    case "$sdk" in
        [1-9][0-9].*) ;;
        *) echo "$1: .NET SDK 10 or later (dotnet): $sdk on this machine"; exit 0 ;;
    esac
}

# MSBuild reads the variable PgEntraLibrary as a property. `dotnet test` hides what passing tests print: they write what
# works into a file.
run_tests() {
    need_sdk skipped
    export PgEntraLibrary="$PGENTRA_TARGET/testing/libpgentra.so" PGENTRA_WORKS="$PGENTRA_TARGET/works-in-dotnet"
    : >"$PGENTRA_WORKS"
    status=0
    dotnet test --project tests/PgEntra.Tests -v q || status=$?
    sort -u "$PGENTRA_WORKS"
    exit $status
}

# Warnings are errors; PublicAPI.*.txt lists what is public.
lint() {
    need_sdk 'not tried'
    export PgEntraLibrary="$PGENTRA_TARGET/libpgentra.so"
    dotnet build src/PgEntra.AzureCore -v q -nologo
    for project in PgEntra.slnx ../examples/dotnet ../benchmarks/dotnet; do
        dotnet restore "$project" -v q -nologo
        dotnet format "$project" --no-restore --verify-no-changes -v q
    done
}

# With the stripped library of `make libpgentra-release`.
pack() {
    target=$("$PYTHON" ../tools/glibc.py target) built=$(dirname "$PGENTRA_TARGET")
    shared=$built/${target%%.*}/shared
    mkdir -p "$shared/stripped"
    export PgEntraLibrary="$shared/stripped/libpgentra.so"
    strip --strip-unneeded -o "$PgEntraLibrary" "$shared/libpgentra.so"
    for project in PgEntra PgEntra.AzureCore; do
        dotnet pack "src/$project" -c Release -v q -nologo -o "$built/nuget"
    done
}

case "${1:-}" in
    test) run_tests ;;
    lint) lint ;;
    pack) pack ;;
    *) sed -n 's/^# \{0,1\}//; 2,5p' "$0" >&2; exit 2 ;;
esac
