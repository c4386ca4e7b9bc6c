#!/usr/bin/env bash
# pip install . into build/venv, keeping objects between runs. Quick when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/compiler.sh
source tools/compiler.sh
# -Werror for the same command lines as the dev build's, whose objects ccache then gives.
build/venv/bin/python -m pip install --quiet --no-build-isolation --no-deps \
  --config-settings=build-dir=build/package \
  --config-settings=cmake.define.COLLEGIUM_WERROR=ON .
