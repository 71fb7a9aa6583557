"""Hashes of files and folders."""

from dcube.artifacts.checksums import dvc_hash


def test_an_empty_output_has_the_hash_that_dvc_records(tmp_path):
    """As of the stage `probe` where no probe was asked for."""
    (tmp_path / "probe").mkdir()
    assert dvc_hash(tmp_path / "probe") == "d751713988987e9331980363e24189ce.dir"
    assert dvc_hash(tmp_path / "nothing") is None
