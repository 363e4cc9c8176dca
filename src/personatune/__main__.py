"""``python -m personatune``."""

from personatune.cli import main

main()
