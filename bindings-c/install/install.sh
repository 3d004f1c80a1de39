#!/bin/sh
# Installs libpgentra from the directory in which cargo built it.
#
#   install.sh BUILT PREFIX [DESTDIR]
#
# The variable LIBDIR names the directory of the libraries; without it, that is PREFIX/lib. The shared library is stripped;
# its symbols are in a file next to it, where debuggers look for them.
set -eu
here=$(dirname "$0")
built=$1 prefix=$2 destination=${3:-} libdir=${LIBDIR:-$2/lib}
include=$destination$prefix/include libraries=$destination$libdir

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")
abi=$(sed -n 's/^#define PGENTRA_ABI_VERSION //p' "$here/../include/pgentra.h")
# The system libraries of `rustc --print native-static-libs`. The compiler adds the C library and, for a static or a shared
# program, the right one of libgcc_eh and libgcc_s.
static_flags='-lutil -lrt -lpthread -lm -ldl'

# Relative to the prefix where possible, so that the installed directory can be moved.
case $libdir in
    "$prefix"/*)
        inside=${libdir#"$prefix"/}
        pc_libdir="\${prefix}/$inside"
        up=$(printf '%s/cmake/pgentra' "$inside" | sed 's|[^/][^/]*|..|g')
        cmake_prefix="\${CMAKE_CURRENT_LIST_DIR}/$up" cmake_libdir="\${_pgentra_prefix}/$inside" ;;
    *) pc_libdir=$libdir cmake_prefix=$prefix cmake_libdir=$libdir ;;
esac

fill() {
    sed -e "s|@PREFIX@|$prefix|" -e "s|@LIBDIR@|$pc_libdir|" -e "s|@CMAKE_PREFIX@|$cmake_prefix|" \
        -e "s|@CMAKE_LIBDIR@|$cmake_libdir|" -e "s|@VERSION@|$version|" -e "s|@ABI@|$abi|" \
        -e "s|@STATIC_FLAGS@|$static_flags|" "$here/$1.in" >"$2/$1"
}

mkdir -p "$include" "$libraries/pkgconfig" "$libraries/cmake/pgentra"
for header in pgentra.h pgentra.hpp pgentra_libpq.h; do
    install -m 644 "$here/../include/$header" "$include"
done

library=$libraries/libpgentra.so.$abi
install -m 755 "$built/libpgentra.so" "$library"
objcopy --only-keep-debug "$library" "$library.debug"
chmod 644 "$library.debug"
strip --strip-unneeded "$library"
(cd "$libraries" && objcopy --add-gnu-debuglink="libpgentra.so.$abi.debug" "libpgentra.so.$abi")
ln -sf "libpgentra.so.$abi" "$libraries/libpgentra.so"

"$here/archive.sh" "$built" "$libraries/libpgentra.a"

fill pgentra.pc "$libraries/pkgconfig"
fill pgentra-config.cmake "$libraries/cmake/pgentra"
fill pgentra-config-version.cmake "$libraries/cmake/pgentra"

if [ -z "$destination" ]; then
    echo "libpgentra $version is in $libdir. If this is a directory of the system's linker, run: ldconfig"
fi
