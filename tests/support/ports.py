"""Free ports of this machine."""

import socket

from flows.stack.settings import Ports


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def free_ports() -> Ports:
    return Ports(*(free_port() for _ in Ports.__dataclass_fields__))
