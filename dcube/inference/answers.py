"""Who gave an answer, and when: columns that every row of predictions carries. Imports no torch."""

from datetime import UTC, datetime

from dcube import __version__

RESEARCH_USE = "Research use only: not for diagnosis or any decision about a patient."


def identity(model: str, version: str, weights: str, code: str) -> dict[str, str]:
    """Column → value. Empty texts stand for a model that is in no registry.

    Args:
        weights: their sha256.
        code: git commit of the pipeline that registered the version.
    """
    return {
        "model": model,
        "version": version,
        "weights_sha256": weights,
        "code_revision": code,
        "program_version": __version__,
        "use": RESEARCH_USE,
    }


def now() -> str:
    """The time in UTC, as ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
