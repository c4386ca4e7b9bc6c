#!/usr/bin/env bash
# Configures and builds a preset, all of it or some targets.
#   tools/build.sh dev|asan|tsan|release [TARGET...]
# asan links the tests' objects of dev, which is to be built before it.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
# shellcheck source=tools/compiler.sh
source tools/compiler.sh
options=()
if [ "$preset" = dev ]; then
  python=$PWD/build/venv/bin/python
  options+=(-DCOLLEGIUM_PYTHON=ON "-DPython_EXECUTABLE=$python"
    "-Dpybind11_DIR=$("$python" -m pybind11 --cmakedir)")
fi
[ "$preset" = asan ] && options+=("-DCOLLEGIUM_TEST_OBJECTS=$PWD/build/dev")
cmake --preset "$preset" "${options[@]}" -Wno-dev >"build/configure-$preset.log" 2>&1 ||
  { cat "build/configure-$preset.log"; exit 1; }
cmake --build --preset "$preset" -j"$(nproc)" ${1:+--target "$@"}
