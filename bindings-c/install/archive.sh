#!/bin/sh
# Makes a static library in which only the functions of the header are global, from the libraries that cargo built.
#
#   archive.sh BUILT ARCHIVE
#
# The archive has one object. Rust's own symbols would be defined twice in a program with another static library made with
# Rust. Section groups are dissolved, because the linker would take one of two with the same name.
set -eu
built=$1 archive=$2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nm -D --defined-only "$built/libpgentra.so" | sed 's/.* //' | grep '^pgentra_' >"$work/exports"
# shellcheck disable=SC2046  # one word for each export
ld -r --gc-sections --force-group-allocation $(sed 's/^/-u /' "$work/exports") "$built/libpgentra.a" -o "$work/pgentra.o"
# The standard library contains LLVM's intermediate code, which the tools of other versions of LLVM cannot read.
objcopy --keep-global-symbols="$work/exports" --strip-debug --remove-section .llvmbc --remove-section .llvmcmd \
    "$work/pgentra.o"
(cd "$work" && ar rcs libpgentra.a pgentra.o)
rm -f "$archive"
install -m 644 "$work/libpgentra.a" "$archive"
