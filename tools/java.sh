#!/bin/sh
# The JVM binding with Maven.
#
#   tools/java.sh test    the tests, with a native library that runs the vectors
#   tools/java.sh jar     the jars that ship, with their sources and documentation, into .cache/java
#   tools/java.sh lint    compiles with every warning as an error
set -eu
cd "$(dirname "$0")/.."

if ! command -v mvn >/dev/null || ! command -v javac >/dev/null; then
    echo "skipped: the JVM binding: no JDK with Maven on this machine"
    exit 0
fi

# JNI FEATURES...: builds the native library and prints its folder, which holds nothing else.
jni() {
    target=${CARGO_TARGET_DIR:-target}/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")
    cargo build --quiet --profile "$PROFILE" -p pgentra-java "$@" >&2
    mkdir -p "$target/java"
    cp "$target/libpgentra_jni.so" "$target/java"
    (cd "$target/java" && pwd)
}

maven() {
    mvn --batch-mode --no-transfer-progress --quiet -f bindings-java/pom.xml "$@"
}

case $1 in
    test)
        folder=$(jni --features testing)
        # Maven prints the totals of each module only without --quiet.
        mvn --batch-mode --no-transfer-progress -f bindings-java/pom.xml test "-Dpgentra.native.folder=$folder"
        ;;
    jar)
        folder=$(jni)
        maven package -DskipTests "-Dpgentra.native.folder=$folder"
        mkdir -p .cache/java
        cp bindings-java/*/target/*.jar .cache/java
        ;;
    lint)
        maven test-compile -Dmaven.compiler.failOnWarning=true -Dmaven.compiler.showWarnings=true
        ;;
    *)
        sed -n '2,7p' "$0"
        exit 2
        ;;
esac
