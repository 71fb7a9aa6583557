"""Hashes of files and folders."""

from dcube.artifacts.checksums import dvc_hash


def test_hash_of_an_empty_folder_equals_that_of_dvc(tmp_path):
    """The stage `probe` has an empty output if no probe is requested."""
    (tmp_path / "probe").mkdir()
    assert dvc_hash(tmp_path / "probe") == "d751713988987e9331980363e24189ce.dir"
    assert dvc_hash(tmp_path / "nothing") is None
