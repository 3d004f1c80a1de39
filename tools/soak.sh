#!/bin/sh
# Runs the soak and draws its figures; ends with a status other than 0 if a rule of docs/soak.md is broken.
#
#   tools/soak.sh             every language and the proxy: benchmarks/soak.json, docs/images/soak.svg
#   tools/soak.sh PROGRAM...  only these: .cache/soak/soak.json and soak.svg
#
# Variables: MINUTES, SEED, PYTHON, PGENTRA_TARGET, PGENTRA_EMULATOR, PROFILE.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
figures=.cache/soak images=.cache/soak
if [ $# = 0 ]; then
    figures=benchmarks images=docs/images
fi

mkdir -p "$figures" "$images"
status=0
"$PYTHON" tools/in_environment.py --postgres newest \
    python benchmarks/soak.py --minutes "$MINUTES" --seed "$SEED" --out "$figures" "$@" || status=$?
# 3: a rule is broken. Others are errors of the soak itself.
[ "$status" = 0 ] || [ "$status" = 3 ] || exit "$status"
"$PYTHON" tools/in_environment.py plots python benchmarks/plot_soak.py "$figures/soak.json" "$images/soak.svg"
exit "$status"
