"""Limits on the size of one file; headers are checked against them before anything is decoded."""

from functools import cache

from dcube.runtime.settings import Settings, read_settings


@cache
def limits() -> Settings:
    """Return the settings, read only once, because they are needed for every image."""
    return read_settings()
