"""The tools of the documentation are scripts: their folder goes on the path, as mkdocs puts it there."""

from __future__ import annotations

import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
