"""Whether the model hub answers, asked once and briefly, before its client is let loose on it.

The client asks for a dozen files one after the other and tries each five times with pauses: without a network a
mistyped folder took minutes to be told. One short question first; where nobody answers, the hub's libraries are
switched to what lies in their local cache.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ANSWER_SECONDS = 5


def why_no_hub() -> str:
    """Say why the hub's files come from the local cache alone; an empty string where the hub answers.

    Where it doesn't, it is not asked again by this process: the hub's libraries are told to be offline.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return _unreachable.get(constants.ENDPOINT) or "HF_HUB_OFFLINE forbids asking the hub"
    reason = hub_silence(constants.ENDPOINT)
    if reason:
        _unreachable[constants.ENDPOINT] = reason
        _stay_offline()
    return reason


@cache
def hub_silence(endpoint: str) -> str:
    """Return why a hub can't be reached, or an empty string where it answers, be it by an error of its own."""
    try:
        with urlopen(Request(endpoint, method="HEAD"), timeout=ANSWER_SECONDS):
            return ""
    except HTTPError:
        return ""
    except (OSError, ValueError) as error:  # URLError is an OSError; a nonsensical address a ValueError
        reason = getattr(error, "reason", error)
        return f"the hub can't be reached ({endpoint}: {getattr(reason, 'strerror', None) or reason})"


_unreachable: dict[str, str] = {}


def _stay_offline() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    for module, names in (
        ("huggingface_hub.constants", ("HF_HUB_OFFLINE",)),
        ("datasets.config", ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")),
    ):
        loaded = sys.modules.get(module)  # one that isn't loaded yet reads the environment
        for name in names:
            if loaded is not None and hasattr(loaded, name):
                setattr(loaded, name, True)
