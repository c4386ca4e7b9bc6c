#!/usr/bin/env python3
"""Every library of an installed wheel resolves from the wheel or from what manylinux promises.

check-wheel.py FOLDER_OF_THE_PACKAGE
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# What PEP 600 lets a wheel expect of any Linux (the policies' lib_whitelist, without X11 and glib).
ALLOWED = {
    *("linux-vdso.so.1", "ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libdl.so.2"),
    *("librt.so.1", "libpthread.so.0", "libutil.so.1", "libresolv.so.2", "libnsl.so.1"),
    *("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1", "libexpat.so.1", "libatomic.so.1"),
}


def problems_of(package: Path) -> list[str]:
    bundled = package.parent / f"{package.name}.libs"
    files = [*package.rglob("*.so*"), *bundled.glob("*.so*")]
    if not any(file.name.startswith("_core") for file in files) or not bundled.is_dir():
        return [f"{package}: no module or no {bundled.name}: is this a repaired wheel?"]
    problems = []
    for file in files:
        listed = subprocess.run(["ldd", str(file)], check=True, capture_output=True, text=True)
        for line in listed.stdout.splitlines():
            words = line.split()
            name = words[0].rpartition("/")[2]
            where = words[2] if len(words) > 2 and words[1] == "=>" else words[0]
            inside = Path(where).resolve().is_relative_to(package.parent.resolve())
            if "not found" in line or not (inside or name in ALLOWED):
                problems.append(f"{file.name}: {line.strip()}")
    if not problems:
        print(f"{len(files)} libraries resolve from the wheel or the manylinux list")
    return problems


if __name__ == "__main__":
    found = problems_of(Path(sys.argv[1]))
    if found:
        print("\n".join(found))
    sys.exit(1 if found else 0)
