#!/bin/sh
# The Kotlin that uniffi generates from bindings-uniffi.
#
#   tools/uniffi.sh test              generates, compiles and tests it on the JVM
#   tools/uniffi.sh generate LANGUAGE FOLDER    writes the sources of `kotlin` or `swift`
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}/$([ "${PROFILE:-dev}" = dev ] && echo debug || echo "$PROFILE")

# generate LANGUAGE FOLDER: from the library, which contains the description of its interface.
generate() {
    cargo build --quiet --profile "${PROFILE:-dev}" -p pgentra-uniffi --features bindgen
    library=$target/libpgentra_uniffi.so
    [ -f "$library" ] || library=$target/libpgentra_uniffi.dylib
    rm -rf "$2"
    "$target/uniffi-bindgen" generate "$library" --config bindings-uniffi/uniffi.toml --language "$1" --out-dir "$2" --no-format
}

case ${1:-} in
    test)
        if ! command -v mvn >/dev/null || ! command -v javac >/dev/null; then
            echo "skipped: the Kotlin of uniffi: no JDK with Maven on this machine"
            exit 0
        fi
        generate kotlin target/uniffi/kotlin
        # Maven prints the totals of each module only without --quiet.
        mvn --batch-mode --no-transfer-progress -f bindings-uniffi/kotlin/pom.xml test \
            "-Dpgentra.generated=$(pwd)/target/uniffi/kotlin" "-Dpgentra.native.folder=$(cd "$target" && pwd)"
        ;;
    generate)
        generate "$2" "$3"
        ;;
    *)
        sed -n '2,6p' "$0"
        exit 2
        ;;
esac
