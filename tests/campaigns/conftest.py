"""The campaigns are scripts, not part of the package: their folder goes on the path, as when one is run."""

from __future__ import annotations

import sys
from pathlib import Path

CAMPAIGNS = Path(__file__).resolve().parents[2] / "campaigns"
sys.path.insert(0, str(CAMPAIGNS))
