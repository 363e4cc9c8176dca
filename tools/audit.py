"""Looks up the pinned dependencies (constraints.txt) in a register of known holes, by pip-audit.

pip-audit lives in an environment of its own, `.venv-audit`, made on first use: nothing of the product needs it. Every
name and version of constraints.txt is sent to the register (OSV's by default); nothing else is.

    python tools/audit.py [--service osv|pypi] [--requirements FILE]

Exit code 0: no known hole; 1: there are some; 3: the register could not be asked, so nothing was checked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PIP_AUDIT = "2.10.1"
CLEAN, HOLES, NOT_CHECKED = 0, 1, 3
_REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = _REPOSITORY / ".venv-audit"
_SECONDS = 600.0


def pip_audit(folder: Path = FOLDER) -> list[str]:
    """Return the command of pip-audit, installed first if it isn't there.

    Raises:
        SystemExit: pip could not install it; its own words stand above.
    """
    python = folder / "bin" / "python"
    ready = folder / f"ready-{PIP_AUDIT}"
    if not ready.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q", f"pip-audit=={PIP_AUDIT}"]
        if subprocess.run(install, check=False).returncode:
            raise SystemExit(f"{folder.name}: pip could not install pip-audit {PIP_AUDIT}; see its message above")
        ready.touch()
    return [str(python), "-m", "pip_audit"]


def audit(command: list[str], requirements: Path, service: str) -> tuple[int, list[str]]:
    """Ask the register; return an exit code and what is to be told, a line each."""
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "20"]
    asked = [*command, *options, "--vulnerability-service", service, "--requirement", str(requirements)]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return _not_checked(service, f"no answer within {_SECONDS:.0f} s")
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return _not_checked(service, lines[-1].strip() if lines else f"exit code {done.returncode}")
    return report(found)


def report(dependencies: list[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """Return exit code and lines for what pip-audit found: a line for each hole, and the count."""
    skipped = [f"not checked: {one['name']} ({one['skip_reason']})" for one in dependencies if "skip_reason" in one]
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}; mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for one in dependencies
        for hole in one.get("vulns", [])
    ]
    checked = len(dependencies) - len(skipped)
    told = f"audit: {checked} pinned packages, {len(holes) or 'no'} known hole{'' if len(holes) == 1 else 's'}"
    if not checked:
        return NOT_CHECKED, [*skipped, f"{told}; NOTHING WAS CHECKED"]
    return HOLES if holes else CLEAN, [*skipped, *holes, told]


def _not_checked(service: str, why: str) -> tuple[int, list[str]]:
    return NOT_CHECKED, [f"audit: the register {service} could not be asked ({why}); NOTHING WAS CHECKED"]


def main() -> int:
    """Audit constraints.txt and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", choices=("osv", "pypi"), default="osv")
    parser.add_argument("--requirements", type=Path, default=_REPOSITORY / "constraints.txt")
    options = parser.parse_args()
    code, lines = audit(pip_audit(), options.requirements, options.service)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
