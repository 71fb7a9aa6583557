"""Free ports for the whole platform."""

from dcube.runtime.ports import free_port
from flows.stack.settings import Ports


def free_ports() -> Ports:
    return Ports(*(free_port() for _ in Ports.__dataclass_fields__))
