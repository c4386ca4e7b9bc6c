#!/usr/bin/env python3
"""Rules of the tree that no other tool checks. Prints what breaks them and exits with 1.

* public headers include no third-party header, and only to the left in cpp <- index <- router;
* sources include the third parties of their folder (docs/design.md, "Walls") and no others;
* the library never prints, exits or aborts;
* no path of one machine is in the repository.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {"cpp": {"core"}, "index": {"core", "index"}, "router": {"core", "index", "router"}}
# By folder, how the includes of its third parties begin.
THIRD_PARTIES = {
    "cpp": ("sentencepiece_processor.h", "simdjson.h", "xxhash.h"),
    "index": (
        "faiss/",
        "libstemmer.h",
        "nlohmann/",
        "omp.h",
        "rocksdb/",
        "utf8proc.h",
        "xxhash.h",
    ),
    "router": ("Eigen/", "nlohmann/", "simdjson.h"),
    "python": ("pybind11/",),
}
# The compiler's and the operating system's; the standard library's have neither dot nor slash.
SYSTEM = re.compile(r"sys/\w+\.h|(?:unistd|fcntl|dirent|dlfcn|cpuid)\.h|\w+intrin\.h")
INCLUDE = re.compile(r'#include\s+[<"]([^>"]+)[>"]')
PRINTS = re.compile(
    r"std::(?:cout|cerr|clog|exit|abort|terminate)|(?<![\w:])(?:f?printf|puts|abort|exit)\("
)
MACHINE_PATH = re.compile(r"/(?:root|home|work)/\w|/tmp/[a-z]")


def may_include(folder: str, header: str, quoted: bool) -> bool:
    """Whether the sources of ``folder`` may include it."""
    if header.startswith(THIRD_PARTIES[folder]):
        return True
    if quoted:  # one of ours, unless it is a third party of another folder
        return not any(header.startswith(names) for names in THIRD_PARTIES.values())
    is_standard = "." not in header and "/" not in header
    return is_standard or SYSTEM.fullmatch(header) is not None


def broken_rules(files: list[str]) -> list[str]:
    problems = []
    for name in files:
        path = ROOT / name
        if path.suffix not in {".h", ".cc", ".py", ".pyi", ".sh", ".cmake", ".toml", ".md", ".txt"}:
            continue
        folder = name.split("/")[0]
        is_library = folder in THIRD_PARTIES and path.suffix in {".h", ".cc"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{name}:{number}"
            if MACHINE_PATH.search(line) and name != "tools/check-rules.py":
                problems.append(f"{where}: a path of one machine: {line.strip()}")
            if not is_library:
                continue
            if PRINTS.search(line) and not line.lstrip().startswith("//"):
                problems.append(f"{where}: the library prints, exits or aborts: {line.strip()}")
            include = INCLUDE.search(line)
            if include is None:
                continue
            if "/include/" not in name:
                if not may_include(folder, include.group(1), quoted='"' in include.group(0)):
                    problems.append(f"{where}: not a third party of {folder}/: {include.group(1)}")
                continue
            target = include.group(1).split("/")
            if target[0] == "collegium":
                if len(target) > 2 and target[1] not in ALLOWED[folder]:
                    problems.append(f"{where}: includes to the right: {include.group(1)}")
            elif len(target) > 1 or "." in target[0]:
                problems.append(f"{where}: third-party header in public: {include.group(1)}")
    return problems


def main() -> int:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\n")
    problems = broken_rules([name for name in listed if name and (ROOT / name).is_file()])
    print("\n".join(problems) if problems else "rules: ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
