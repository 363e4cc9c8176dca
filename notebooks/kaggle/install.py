# %% [markdown]
# # personatune on two T4s
#
# The six notebooks in a row, with the preset `kaggle-2xt4`. First the package: its wheel comes with the data set that
# this kernel is given.

# %%
import subprocess
import sys
from pathlib import Path

folder = next(Path("/kaggle/input").rglob("personatune-*.whl")).parent
pip = [sys.executable, "-m", "pip", "install", "--quiet"]
subprocess.run([*pip, "--requirement", "requirements.txt"], cwd=folder, check=True)
subprocess.run([*pip, "--no-deps", "--requirement", "requirements-embedded.txt"], cwd=folder, check=True)
