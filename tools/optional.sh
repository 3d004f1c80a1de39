#!/bin/sh
# Runs a command that needs a program which this machine may lack.
#
#   tools/optional.sh NAME PROGRAM COMMAND...    prints `not tried: NAME` if `PROGRAM --version` fails
set -eu

name=$1 program=$2
shift 2
# The program may be several words, such as `cargo +nightly miri`.
# shellcheck disable=SC2086
if $program --version >/dev/null 2>&1; then
    exec "$@"
fi
echo "not tried: $name: no $program on this machine"
