#!/bin/sh
# Builds the reference of each language from its source, into BUILD/reference; `make docs` adds what is there to the site.
#
#   tools/docs/reference.sh [LANGUAGE...]    c dotnet go java node php ruby rust; all by default
#
# A language without its tool is left out. The reference of Python is part of the site itself.
set -eu
cd "$(dirname "$0")/../.."
root=$(pwd)
[ -x /usr/local/go/bin/go ] && PATH=$PATH:/usr/local/go/bin
BUILD=${BUILD:-target}
mkdir -p "$BUILD"
out=$(cd "$BUILD" && pwd)/reference

# has LANGUAGE PROGRAM: whether the program can be run.
has() {
    command -v "$2" >/dev/null || { echo "not tried: reference of $1: no $2 on this machine" && return 1; }
}

# doxygen_of LANGUAGE TITLE INPUT SETTINGS: one set of pages.
doxygen_of() {
    printf '%s\n' "PROJECT_NAME = \"$2\"" "INPUT = $3" 'RECURSIVE = YES' 'GENERATE_LATEX = NO' 'HAVE_DOT = NO' \
        'QUIET = YES' 'WARN_LOGFILE = /dev/null' "OUTPUT_DIRECTORY = $out/$1" 'HTML_OUTPUT = .' 'HIDE_UNDOC_CLASSES = YES' \
        'HIDE_UNDOC_MEMBERS = YES' 'HTML_TIMESTAMP = NO' "STRIP_FROM_PATH = $root" "$4" | doxygen -
}

reference_of_c() {
    has c doxygen || return 0
    doxygen_of c libpgentra 'bindings-c/include/pgentra.h bindings-c/include/pgentra.hpp bindings-c/include/pgentra_libpq.h' \
        "$(grep ^ALIASES bindings-c/Doxyfile)
OPTIMIZE_OUTPUT_FOR_C = YES
EXTRACT_ALL = YES"
}

# Doxygen does not read namespaces without braces.
reference_of_dotnet() {
    has dotnet doxygen || return 0
    doxygen_of dotnet PgEntra bindings-dotnet/src "FILE_PATTERNS = *.cs
EXCLUDE_PATTERNS = */obj/* */bin/* */Interop/*
OPTIMIZE_OUTPUT_JAVA = YES
INPUT_FILTER = \"sed -e 's/^namespace \\([^;]*\\);/namespace \\1 {/' -e '\$a}'\""
}

# Nor attributes of PHP.
reference_of_php() {
    has php doxygen || return 0
    doxygen_of php 'pgentra for PHP' bindings-php/src "FILE_PATTERNS = *.php
EXCLUDE_PATTERNS = */Internal/*
INPUT_FILTER = \"sed -e 's/#\\[[^]]*\\] *//'\""
}

# Markdown, which becomes a page of the site for each package.
reference_of_go() {
    has go go || return 0
    module=$(sed -n 's/^module //p' bindings-go/go.mod)
    for package in pgentra pgxentra pqentra azcoreentra; do
        folder=/$package
        [ $package != pgentra ] || folder=
        (cd tools/docs/go && GOWORK=off go run . "$module$folder" "$root/bindings-go$folder") >"$out/go/$package.md"
    done
}

reference_of_java() {
    has java mvn && has java javadoc || return 0
    mvn --batch-mode --no-transfer-progress --quiet -f bindings-java/pom.xml --activate-profiles release \
        --projects pgentra,pgentra-azure compile javadoc:javadoc
    for module in pgentra pgentra-azure; do
        cp -R "bindings-java/$module/target/reports/apidocs" "$out/java/$module"
    done
}

reference_of_node() {
    has node npm || return 0
    tools/node.sh packages tools/docs/typescript
    tools/docs/typescript/node_modules/.bin/typedoc --logLevel Warn --options tools/docs/typescript/typedoc.json \
        --out "$out/node"
}

reference_of_ruby() {
    has ruby rdoc || return 0
    rm -rf "$out/ruby"
    (cd bindings-ruby && rdoc --quiet --title 'pgentra for Ruby' --main README.md --output "$out/ruby" README.md lib)
}

reference_of_rust() {
    rm -rf "$BUILD/doc"
    cargo doc --quiet --no-deps -p pgentra -p pgentra-drivers --all-features
    cp -R "$BUILD/doc/." "$out/rust"
}

[ $# -gt 0 ] || set -- c dotnet go java node php ruby rust
for language; do
    rm -rf "${out:?}/$language"
    mkdir -p "$out/$language"
    "reference_of_$language"
    rmdir "$out/$language" 2>/dev/null || echo "built: $out/$language"
done
