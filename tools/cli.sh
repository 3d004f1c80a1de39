#!/bin/sh
# Builds and installs the program `pgentra`.
#
#   tools/cli.sh build               builds it into target/cli, with completions and man pages; static on Linux with glibc
#   tools/cli.sh stage PROGRAM       puts a built program there, with what it generates
#   tools/cli.sh install PREFIX [DESTDIR]    installs what `build` has left there, if anything
#
# Variables: BUILD (cargo's target directory).
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-target} folder=${BUILD:-target}/cli

build() {
    host=$(rustc -vV | sed -n 's/^host: //p')
    # Without a target of its own, the flag would also apply to procedural macros, which cannot be static.
    case $host in
        # Packed relocations take 10 kB instead of 200; they need glibc 2.36.
        *-linux-gnu) RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" cargo build --quiet --profile program -p pgentra-cli --target "$host" ;;
        *) cargo build --quiet --profile program -p pgentra-cli --target "$host" ;;
    esac
    # The linker does not strip with these flags.
    strip "$build/$host/program/pgentra"
    stage "$build/$host/program/pgentra"
    wc -c "$folder/pgentra"
}

stage() {
    rm -rf "$folder"
    mkdir -p "$folder/completions"
    install -m 755 "$1" "$folder/pgentra"
    "$folder/pgentra" completions bash >"$folder/completions/pgentra"
    "$folder/pgentra" completions zsh >"$folder/completions/_pgentra"
    "$folder/pgentra" completions fish >"$folder/completions/pgentra.fish"
    "$folder/pgentra" man "$folder/man"
}

install_to() {
    if [ ! -x "$folder/pgentra" ]; then
        echo "the program pgentra is not installed: \`make cli\` builds it"
        return
    fi
    prefix=$2$1
    mkdir -p "$prefix/bin" "$prefix/share/man/man1" "$prefix/share/bash-completion/completions" \
        "$prefix/share/zsh/site-functions" "$prefix/share/fish/vendor_completions.d"
    install -m 755 "$folder/pgentra" "$prefix/bin"
    install -m 644 "$folder"/man/*.1 "$prefix/share/man/man1"
    install -m 644 "$folder/completions/pgentra" "$prefix/share/bash-completion/completions"
    install -m 644 "$folder/completions/_pgentra" "$prefix/share/zsh/site-functions"
    install -m 644 "$folder/completions/pgentra.fish" "$prefix/share/fish/vendor_completions.d"
}

case "${1:-}" in
    build) build ;;
    stage) stage "$2" ;;
    install) install_to "$2" "${3:-}" ;;
    *) sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2; exit 2 ;;
esac
