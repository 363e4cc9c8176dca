"""TRL's own environment, `.venv-trl` beside the project's: made on first use, by pip alone.

    python benchmarks/trl_peer/environment.py

torch goes in first and alone, in the version that the project pins, so that pip takes the build which is at hand; TRL
then finds it there. TRL stands outside the project's environment since nothing of the product needs it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRL = "1.12.0"  # the last release with a PPO trainer
_REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = _REPOSITORY / ".venv-trl"


def trl_python(folder: Path = FOLDER) -> str:
    """Return the interpreter of TRL's environment, made first if it isn't there.

    Raises:
        SystemExit: pip could not install it; its own words stand above.
    """
    python = folder / "bin" / "python"
    ready = folder / f"ready-{TRL}"
    if not ready.is_file():
        print(f"making {folder.name} for TRL {TRL}: some minutes, about 1.5 GB", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pinned = ["-c", str(_REPOSITORY / "constraints.txt")]
        for packages in (["torch"], [f"trl[peft]=={TRL}"]):
            command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q", *pinned, *packages]
            if subprocess.run(command, check=False).returncode:
                raise SystemExit(f"{folder.name}: pip could not install {' '.join(packages)}; see its message above")
        ready.touch()
    return str(python)


if __name__ == "__main__":
    print(trl_python())
