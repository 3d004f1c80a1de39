#!/bin/sh
# The fuzz targets of tests/fuzz, which need a nightly Rust.
#
#   tools/fuzz.sh check                   compiles and lints them
#   tools/fuzz.sh run [SECONDS [TARGET]]  fuzzes one target or each of them for this time (60)
#
# New inputs are kept in .cache/fuzz, and an input that fails a target in tests/fuzz/artifacts. Before a failure is fixed,
# its input is added to tests/fuzz/corpus.
set -eu

version=0.13.2
cd "$(dirname "$0")/.."
fuzz=tests/fuzz
target=${CARGO_TARGET_DIR:-target}/fuzz
case ${1:-} in
check)
    cargo fmt --manifest-path $fuzz/Cargo.toml --check
    exec cargo +nightly clippy --quiet --locked --manifest-path $fuzz/Cargo.toml --target-dir "$target" --all-targets -- -D warnings
    ;;
run) ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

tools=${XDG_CACHE_HOME:-$HOME/.cache}/pgentra/cargo-fuzz-$version
if ! [ -x "$tools/bin/cargo-fuzz" ]; then
    echo "[pgentra] building cargo-fuzz $version into $tools"
    cargo install --quiet --locked --debug --root "$tools" "cargo-fuzz@$version"
fi
PATH=$tools/bin:$PATH

status=0
for name in ${3:-$(cargo fuzz list --fuzz-dir $fuzz)}; do
    new=.cache/fuzz/$name
    mkdir -p "$new"
    set -- "${1}" "${2:-60}"
    seeds="$new $fuzz/corpus/$name"
    # The files of the vectors are inputs of this target without changes.
    [ "$name" = certificates ] && seeds="$seeds tests/vectors/certificates"
    echo "[pgentra] fuzzing $name for $2 s"
    # An input that takes this long counts as a hang. The key derivations of a certificate can take seconds.
    # Leaks are not looked for: LeakSanitizer needs ptrace, which containers block.
    # shellcheck disable=SC2086
    cargo +nightly fuzz run --fuzz-dir $fuzz --target-dir "$target" "$name" $seeds -- \
        -max_total_time="$2" -timeout=25 -detect_leaks=0 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 -verbosity=0 || status=1
done
exit $status
