"""Listens on a port and runs the application until it is stopped."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import TYPE_CHECKING

from personatune.errors import UserError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from personatune.serving.limits import Limits

KEY_VARIABLE = "PERSONATUNE_API_KEY"


def require_parts() -> None:
    """Check that the libraries of the server are installed.

    Raises:
        UserError: they aren't.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(f"serve needs {error.name}; run: pip install 'personatune[serve]'") from error


def listen(host: str, port: int) -> socket.socket:
    """Take a port at once, before a model is loaded for it; callers wait in its backlog.

    Args:
        port: 0 takes any free one.

    Raises:
        UserError: no such address here, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UserError(f"--host {host}: no such address ({error.strerror}); 127.0.0.1 is this machine") from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} on {host} is taken by another program; stop it, or choose another port: --port {port + 1}"
            ) from error
        raise UserError(f"--host {host} --port {port}: can't be listened on ({error.strerror})") from error
    return listening


def require_key(listening: socket.socket, host: str, api_key: str | None) -> None:
    """Check that a server that others can reach asks for a key.

    Raises:
        UserError: it has none, or an empty one.
    """
    if api_key is not None and not api_key.strip():
        raise UserError(f"the API key is empty; leave it out, or set {KEY_VARIABLE} to a secret")
    if api_key is None and not is_loopback(listening):
        raise UserError(
            f"--host {host} can be reached from other machines: set a key in {KEY_VARIABLE}, or serve on 127.0.0.1"
        )


def is_loopback(listening: socket.socket) -> bool:
    """Return whether only this machine can reach a socket."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def address_of(listening: socket.socket) -> str:
    """Return the URL of a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def configured(app: FastAPI, limits: Limits, *, grace: int = 3, log_level: str = "error") -> uvicorn.Config:
    """Return how the application is run: h11, which bounds a head's size, within the limits of connections.

    Errors alone are logged: every warning of uvicorn's is a line that a stranger can have written without end.

    Args:
        grace: seconds that replies in the making get when the server is stopped.
    """
    import uvicorn

    from personatune.serving.connections import guarded

    return uvicorn.Config(
        app,
        http=guarded(limits),
        ws="none",
        log_config=None,  # its own shuts every handler of the process, and absl's closes the output it writes to
        log_level=log_level,
        timeout_graceful_shutdown=grace,
        timeout_keep_alive=int(limits.idle_seconds),
        server_header=False,
    )


def run(app: FastAPI, listening: socket.socket, limits: Limits) -> None:
    """Serve until Ctrl-C or SIGTERM; replies in the making get three seconds."""
    import uvicorn

    try:
        uvicorn.Server(configured(app, limits)).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn raises it again when everything is closed
        return
