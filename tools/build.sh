#!/usr/bin/env bash
# Configures and builds a preset, all of it or some targets.
#   tools/build.sh dev|asan|tsan|release [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
options=()
command -v ccache >/dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
if [ "$preset" = dev ]; then
  python=$PWD/build/venv/bin/python
  options+=(-DCOLLEGIUM_PYTHON=ON "-DPython_EXECUTABLE=$python"
    "-Dpybind11_DIR=$("$python" -m pybind11 --cmakedir)")
fi
cmake --preset "$preset" "${options[@]}" -Wno-dev >"build/configure-$preset.log" 2>&1 ||
  { cat "build/configure-$preset.log"; exit 1; }
cmake --build --preset "$preset" -j"$(nproc)" ${1:+--target "$@"}
