#!/usr/bin/env python3
"""Runs the Python blocks of a Markdown file, in order, as one program.  run-readme.py README.md"""

from __future__ import annotations

import re
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
if not blocks:
    sys.exit(f"{sys.argv[1]}: no ```python block")
exec(compile("\n".join(blocks), sys.argv[1], "exec"), {"__name__": "__main__"})
