#!/usr/bin/env bash
# Runs the suites of a built tree: all (dev preset), fast (without slow tests), asan (fast suite of
# the sanitizer build). Prints the runners' own summaries.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/models.sh
source tools/models.sh
case "$1" in
  all)
    ctest --preset dev -j"$(nproc)" --no-tests=error
    PYTHONPATH=build/dev/python build/venv/bin/python -m pytest tests/python ;;
  fast)
    ctest --preset dev -j"$(nproc)" --no-tests=error -LE slow
    PYTHONPATH=build/dev/python build/venv/bin/python -m pytest tests/python -m 'not slow' ;;
  asan) ctest --preset asan -j"$(nproc)" --no-tests=error ;;
  *) echo "run-tests: unknown suite '$1'" >&2; exit 2 ;;
esac
