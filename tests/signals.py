"""SIGTERM in the middle of a training, at a chosen call of one of its methods."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def sigterm_after(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, call: int) -> list[int]:
    """Have this process get SIGTERM as ``owner``'s method ends its n-th call; return a list that counts the calls."""
    act, calls = getattr(owner, method), [0]

    def pressing(*args: Any) -> Any:
        found = act(*args)
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(owner, method, pressing)
    return calls
