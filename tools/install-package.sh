#!/usr/bin/env bash
# pip install . into build/venv, keeping objects between runs. Quick when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."
build/venv/bin/python -m pip install --quiet --no-build-isolation --no-deps \
  --config-settings=build-dir=build/package .
