#!/bin/sh
# Installs libpgentra from the directory that cargo built it in.
#
#   install.sh BUILT PREFIX [DESTDIR]
#
# The shared library is stripped; its symbols lie beside it, where debuggers look for them.
set -eu
here=$(dirname "$0")
built=$1 prefix=$2 root=${3:-}$2

# Once here, once in the crate's own version, once in its header.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")
abi=$(sed -n 's/^#define PGENTRA_ABI_VERSION //p' "$here/../include/pgentra.h")
# What `rustc --print native-static-libs` tells for this library, the C library itself aside.
static_flags='-lgcc_s -lutil -lrt -lpthread -lm -ldl'

fill() {
    sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" -e "s|@ABI@|$abi|" -e "s|@STATIC_FLAGS@|$static_flags|" \
        "$here/$1.in" >"$2/$1"
}

mkdir -p "$root/include" "$root/lib/pkgconfig" "$root/lib/cmake/pgentra"
install -m 644 "$here/../include/pgentra.h" "$here/../include/pgentra.hpp" "$root/include"

library=$root/lib/libpgentra.so.$abi
install -m 755 "$built/libpgentra.so" "$library"
objcopy --only-keep-debug "$library" "$library.debug"
chmod 644 "$library.debug"
strip --strip-unneeded "$library"
(cd "$root/lib" && objcopy --add-gnu-debuglink="libpgentra.so.$abi.debug" "libpgentra.so.$abi")
ln -sf "libpgentra.so.$abi" "$root/lib/libpgentra.so"
install -m 644 "$built/libpgentra.a" "$root/lib"
strip --strip-debug "$root/lib/libpgentra.a"

fill pgentra.pc "$root/lib/pkgconfig"
fill pgentra-config.cmake "$root/lib/cmake/pgentra"
fill pgentra-config-version.cmake "$root/lib/cmake/pgentra"
