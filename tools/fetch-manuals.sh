#!/usr/bin/env bash
# Downloads the six Debian packages whose manuals the demo reads and unpacks them; nothing is
# installed. Quick when they are there.
#   tools/fetch-manuals.sh FOLDER
set -euo pipefail
target=$1
mkdir -p "$target"
cd "$target"
for package in postgresql-doc-15 lilypond-doc-html calculix-ccx-doc phylip-doc hugin-data r-doc-html; do
  [ -e ".unpacked-$package" ] && continue
  echo "Fetching $package"
  apt-get download -qq "$package" 2>/dev/null || {
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    apt-get download -qq "$package" 2>/dev/null
  }
  dpkg-deb -x "${package}"_*.deb .
  rm -f "${package}"_*.deb
  touch ".unpacked-$package"
done
