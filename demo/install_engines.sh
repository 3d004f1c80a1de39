#!/bin/sh
# Copies the engines that cargo built to where Python and Node look for them: .cache/demo/pgentra, bindings-node.
#
# Variables: PGENTRA_TARGET.
set -eu
cd "$(dirname "$0")/.."

extension=so
[ "$(uname)" != Darwin ] || extension=dylib
rm -rf .cache/demo
mkdir -p .cache/demo
cp -R bindings-python/python/pgentra .cache/demo
cp "$PGENTRA_TARGET/lib_native.$extension" .cache/demo/pgentra/_native.abi3.so
if command -v node >/dev/null; then
    # The name that the binding looks for on this platform.
    platform=$(node -p "[process.platform, process.arch, ...(process.platform === 'linux' ? ['gnu'] : [])].join('-')")
    cp "$PGENTRA_TARGET/libpgentra_node.$extension" "bindings-node/pgentra.$platform.node"
fi
