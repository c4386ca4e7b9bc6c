#!/usr/bin/env bash
# Format, lint and types. --fix rewrites what can be rewritten.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t sources < <(git ls-files --cached --others --exclude-standard '*.h' '*.cc')
python=build/venv/bin/python
if [ "${1:-}" = --fix ]; then
  clang-format-16 -i "${sources[@]}"
  "$python" -m ruff format .
  "$python" -m ruff check --fix .
  exit
fi
clang-format-16 --dry-run -Werror "${sources[@]}"
"$python" -m ruff format --check .
"$python" -m ruff check .
"$python" -m mypy
tools/check-rules.py
