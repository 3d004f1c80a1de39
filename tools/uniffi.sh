#!/bin/sh
# The Kotlin that uniffi generates from bindings-uniffi.
#
#   tools/uniffi.sh test              generates, compiles and tests it on the JVM
#   tools/uniffi.sh generate LANGUAGE FOLDER    writes the sources of `kotlin` or `swift`
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
profile=${PROFILE:-dev}

# generate LANGUAGE FOLDER: from the library's symbols, which only the unoptimised build keeps.
generate() {
    cargo build --quiet -p pgentra-uniffi --features bindgen
    library=$target/debug/libpgentra_uniffi.so
    [ -f "$library" ] || library=$target/debug/libpgentra_uniffi.dylib
    rm -rf "$2"
    "$target/debug/uniffi-bindgen" generate "$library" --config bindings-uniffi/uniffi.toml --language "$1" \
        --out-dir "$2" --no-format
}

# examples FOLDER: writes the Kotlin of the documentation, one file with a package of its own for each example. An example
# without an import is the body of a function.
examples() {
    rm -rf "$1"
    mkdir -p "$1"
    awk -v folder="$1" '
        /^```kotlin$/ { inside = 1; text = ""; line = FNR; next }
        /^```$/ && inside {
            inside = 0
            file = folder "/Example" ++count ".kt"
            printf "// %s:%d\npackage documentation.example%d\n", FILENAME, line, count >file
            if (text ~ /^import /) print text >file
            else printf "import io.github.pgentra.uniffi.*\nsuspend fun example() {\n%s}\n", text >file
        }
        inside { text = text $0 "\n" }
        END { exit count < 5 }
    ' README.md bindings-uniffi/README.md docs/*.md
}

case ${1:-} in
    test)
        if ! command -v mvn >/dev/null || ! command -v javac >/dev/null; then
            echo "skipped: the Kotlin of uniffi: no JDK with Maven on this machine"
            exit 0
        fi
        generate kotlin target/uniffi/kotlin
        examples target/uniffi/examples
        folder=$target/debug
        if [ "$profile" != dev ]; then
            cargo build --quiet --profile "$profile" -p pgentra-uniffi
            folder=$target/$profile
        fi
        # Maven prints the totals of each module only without --quiet.
        mvn --batch-mode --no-transfer-progress -Dkotlin.compiler.daemon=false -f bindings-uniffi/kotlin/pom.xml test \
            "-Dpgentra.generated=$(pwd)/target/uniffi/kotlin" "-Dpgentra.examples=$(pwd)/target/uniffi/examples" "-Dpgentra.native.folder=$(cd "$folder" && pwd)"
        ;;
    generate)
        generate "$2" "$3"
        ;;
    *)
        sed -n '2,6p' "$0"
        exit 2
        ;;
esac
