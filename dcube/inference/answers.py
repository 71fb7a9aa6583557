"""Who gave an answer: the columns that every row of predictions begins with. Imports no torch."""


def identity(model: str, version: str, weights: str) -> dict[str, str]:
    """Column → value; `weights` is their sha256. Empty texts stand for a model that is in no registry."""
    return {"model": model, "version": version, "weights_sha256": weights}
