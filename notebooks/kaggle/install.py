# %% [markdown]
# # personatune on two T4s
#
# The six notebooks in a row, with the preset `kaggle-2xt4`. First the package: its wheel comes with the data set that
# this kernel is given.

# %%
import subprocess
import sys
from pathlib import Path

wheel = next(Path("/kaggle/input").rglob("personatune-*.whl"))
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--find-links", str(wheel.parent)]
subprocess.run([*pip, "--requirement", str(wheel.parent / "requirements.txt")], check=True)
subprocess.run([*pip, "--no-deps", "--requirement", str(wheel.parent / "requirements-embedded.txt")], check=True)
