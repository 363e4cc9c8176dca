"""Serves the page: on this machine alone unless asked otherwise."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from typing import TYPE_CHECKING, Any

from personatune.demo.reading import Reader
from personatune.demo.shelf import Shelf
from personatune.dialogue import Context, Persona, Turn
from personatune.errors import UserError

if TYPE_CHECKING:
    from personatune.demo.page import Page

LOOPBACK = "127.0.0.1"
VISITOR = "visitor"
"""The name that visitors sign in with where there is a password."""


def require_free_port(host: str, port: int) -> None:
    """Look whether one can listen there, before models are loaded.

    Raises:
        UserError: the port is taken, needs rights, or the host is none of this machine's addresses.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(_why_not(host, port, error)) from None


def is_loopback(host: str) -> bool:
    """Say whether only programs on this machine reach a host's address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def choose_password(host: str, share: bool, wanted: str | None) -> str | None:
    """Return what visitors are asked for: what was wanted, or a new one where others reach the page; None on loopback.

    Raises:
        UserError: an empty one was wanted.
    """
    if wanted is not None and not wanted.strip():
        raise UserError("the password is empty; leave it out, or give one")
    return wanted or (None if is_loopback(host) and not share else secrets.token_urlsafe(9))


def warm_up(shelf: Shelf, reader: Reader) -> None:
    """Have each model say a token and the critic read a line: what is prepared at first use is ready for visitors."""
    persona = Persona(("I have two dogs.",))
    context = Context(persona, (Turn("partner", "Hi!"),))
    for name in shelf.names:
        pieces = shelf.stream(name, context, seed=0)
        next(pieces, None)
    from personatune.chat.session import Exchange

    reader.read([Exchange(context, "I have two dogs at home.")])


def serve(page: Page, host: str, port: int, *, share: bool = False, password: str | None = None) -> Any:
    """Serve the page in the background; return gradio's blocks, to be waited for or closed.

    Args:
        share: ask gradio for a public address.
        password: asked of every visitor, who signs in as ``visitor``; None asks for none.

    Raises:
        UserError: one can't listen there.
    """
    from personatune.demo.app import build, launch_options

    blocks = build(page)
    try:
        blocks.launch(
            server_name=host, server_port=port, share=share, prevent_thread_lock=True, inbrowser=False,
            auth=(VISITOR, password) if password else None, **launch_options(),
        )  # fmt: skip
    except OSError as error:
        raise UserError(_why_not(host, port, error)) from error
    return blocks


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE or "empty port" in str(error):
        return f"port {port} of {host} is in use (by another demo?); give another one: --port {port % 65535 + 1}"
    if error.errno == errno.EACCES:
        return f"port {port} needs an administrator's rights; give one from 1024 on, as in --port 7860"
    reason = error.strerror or str(error)
    return f"--host {host}: can't listen there ({reason}); give {LOOPBACK}, 0.0.0.0 or an address of this machine"
