"""A data set small enough to train on in seconds, and parameters to match."""

from pathlib import Path

import pytest

from dcube.config.schema import Params
from dcube.data.prepared import PreparedDataset
from tests.support.discs import TINY, write_dataset


@pytest.fixture
def disc_dataset(tmp_path: Path) -> PreparedDataset:
    """84 labelled and 6 unlabelled images at 32 (and 16) pixels, three classes, two images a patient."""
    return write_dataset(tmp_path / "prepared")


@pytest.fixture
def tiny_params() -> Params:
    """Parameters with which every stage takes seconds on `disc_dataset`."""
    return Params.model_validate(TINY)


@pytest.fixture
def own_salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pseudonyms with a salt of the test's own, not with the user's."""
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))
