"""How much one file may ask for: headers are compared with it before anything is decoded."""

from functools import cache

from dcube.runtime.settings import Settings, read_settings


@cache
def limits() -> Settings:
    """The settings, read once, since every image asks."""
    return read_settings()
