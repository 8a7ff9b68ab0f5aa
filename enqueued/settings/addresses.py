"""Which addresses a daemon may be told to use, and which of them can be reached from other machines."""

from __future__ import annotations

import re

_TCP = re.compile(r"tcp://(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>\d{1,5}|\*)")


def is_ipc(endpoint: str) -> bool:
    """Whether this is ``ipc://`` and a path; abstract sockets (``ipc://@``) have no permissions: refused."""
    return endpoint.startswith("ipc://") and len(endpoint) > len("ipc://") and endpoint[6] != "@"


def is_tcp(endpoint: str) -> bool:
    """Whether this is ``tcp://host:port``; the port may be ``*`` for any free one."""
    match = _TCP.fullmatch(endpoint)
    return match is not None and (match["port"] == "*" or 0 < int(match["port"]) < 65536)


def is_loopback(endpoint: str) -> bool:
    """Whether this endpoint can be reached from its own machine only."""
    from ipaddress import ip_address  # imported late: few settings need it

    match = _TCP.fullmatch(endpoint)
    if match is None:
        return endpoint.startswith("ipc://")
    host = match["six"] or match["host"]
    if host in ("localhost", "lo"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
