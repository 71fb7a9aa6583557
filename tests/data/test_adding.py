"""`dcube data add`, `dcube data check`, `dcube params` and the phantom data set."""

import gzip
import io
import json
import lzma
import os
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from dcube.cli import main as cli
from dcube.config.loading import load_params, load_preset
from dcube.config.schema import Data
from dcube.data.adding import add_dataset, digest
from dcube.data.layouts.phantom import write_phantom
from dcube.data.preparing import prepare
from dcube.data.readers.archives import unpack
from dcube.errors import DcubeError
from dcube.inference.inputs import collect_images
from dcube.runtime.settings import read_settings
from tests.support.checkout import ROOT
from tests.support.raw_sets import class_folders, medmnist_file, noise, save

PHANTOM_DIGEST = "8287c2a36a3d4a6c259ce096df0fd2a6b0b80174dc01474e10e88a02ee4fc61f"


@pytest.fixture
def dcube(tmp_path, monkeypatch, capsys):
    """Run a command line in an empty DVC repository; returns exit code, output and errors."""
    repository = tmp_path / "repository"
    repository.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    (repository / ".gitignore").write_text("/data/\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=repository, check=True)
    monkeypatch.chdir(repository)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dcube", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        errors = [line for line in printed.err.splitlines() if "images/s" not in line and "patients/s" not in line]
        return end.value.code or 0, printed.out, "\n".join(errors)

    return run


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, _, errors = result
    assert code == 2 and len(errors.splitlines()) == 1 and errors.startswith("error: "), result
    assert all(word in errors for word in words), errors


def left_behind() -> list[str]:
    return sorted(path.name for path in Path("data").iterdir()) if Path("data").exists() else []


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "phantom"
    write_phantom(folder)
    return folder


def test_phantom_has_the_recorded_digest(phantom):
    assert digest(phantom) == PHANTOM_DIGEST


def test_phantom_is_prepared_with_expected_class_counts(phantom, tmp_path):
    dataset = prepare(phantom, load_preset("phantom").data, tmp_path / "out")
    assert dataset.info.is_phantom and dataset.info.unlabelled == 120 and dataset.info.patients == 180
    totals = dataset.manifest["label"].value_counts()
    assert (totals["benign"], totals["malignant"], totals["normal"]) == (100, 100, 400)


@pytest.mark.slow
def test_add_versions_data_and_requires_replace_for_changes(dcube, tmp_path):
    raw = class_folders(tmp_path / "raw with spaces")
    code, out, _ = dcube("data", "add", "mine", raw)
    first = Path("data.dvc").read_bytes()
    assert code == 0 and "accepts it" in out and "dvc repro" in out and "raw with spaces" in out
    assert digest(Path("data/mine")) == digest(raw) and yaml.safe_load(first)["outs"][0]["nfiles"] == 20
    assert dcube("data", "add", "mine", raw)[0] == 0 and Path("data.dvc").read_bytes() == first
    save(raw / "ill" / "new.png", noise(77))
    refused(dcube("data", "add", "mine", raw), "data/mine", "--replace")
    assert Path("data.dvc").read_bytes() == first
    assert dcube("data", "add", "mine", raw, "--replace")[0] == 0 and Path("data.dvc").read_bytes() != first
    assert left_behind() == ["mine"]


@pytest.mark.slow
def test_concurrent_adds_run_one_after_the_other(dcube, tmp_path):
    raws = [class_folders(tmp_path / str(number), images=6 + number) for number in range(2)]
    command = [sys.executable, "-m", "dcube.cli", "data", "add", "mine", "--replace"]
    started = [subprocess.Popen([*command, raw], stdout=subprocess.DEVNULL) for raw in raws]
    assert [process.wait() for process in started] == [0, 0]
    assert left_behind() == ["mine"] and digest(Path("data/mine")) in {digest(raw) for raw in raws}
    recorded = yaml.safe_load(Path("data.dvc").read_text())["outs"][0]
    assert recorded["nfiles"] == sum(file.is_file() for file in Path("data").rglob("*"))


@pytest.mark.slow
def test_fresh_phantom_matches_committed_data_dvc(dcube):
    assert dcube("data", "add", "phantom")[0] == 0
    committed = ROOT / "data.dvc"
    assert yaml.safe_load(Path("data.dvc").read_text()) == yaml.safe_load(committed.read_text())


def test_embedded_set_has_attribution_and_warns_of_split_by_image(dcube):
    code, out, _ = dcube("data", "add", "breastmnist")
    assert code == 0 and "780 of 780 images name no patient" in out and "dcube params use breastmnist" in out
    assert left_behind() == ["breastmnist"]
    assert {file.name for file in Path("data/breastmnist").iterdir()} == {"breastmnist.npz", "ATTRIBUTION.md"}
    assert "train/000115 = " in out  # the copy that is in two splits is named


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "npz"])
def test_add_accepts_archives_and_npz(dcube, tmp_path, kind):
    raw = class_folders(tmp_path / "wrapped" / "set")
    file = tmp_path / f"set.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for image in raw.rglob("*.png"):
                archive.write(image, image.relative_to(tmp_path))
    elif kind == "tar.gz":
        with tarfile.open(file, "w:gz") as archive:
            archive.add(raw, "set")
    else:
        medmnist_file(file)
    assert dcube("data", "add", "mine", file)[0] == 0
    expected = ["set.npz"] if kind == "npz" else ["ill", "well"]
    assert sorted(path.name for path in Path("data/mine").iterdir()) == expected


def test_archive_with_unsafe_members_is_refused(dcube, tmp_path):
    for name in ("../out.png", "/tmp/out.png", "a/../../out.png", "C:\\out.png", "..\\out.png"):
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            archive.writestr(name, b"x")
        refused(dcube("data", "add", "mine", tmp_path / "set.zip"), "points outside")
        with tarfile.open(tmp_path / "set.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        refused(dcube("data", "add", "mine", tmp_path / "set.tar"), "points outside")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        member = tarfile.TarInfo("a.png")
        member.type, member.linkname = kind, "/etc/passwd"
        with tarfile.open(tmp_path / "set.tar", "w") as archive:
            archive.addfile(member)
        refused(dcube("data", "add", "mine", tmp_path / "set.tar"), "link or device")
    link = zipfile.ZipInfo("a.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(dcube("data", "add", "mine", tmp_path / "set.zip"), "link or device")
    assert left_behind() == [] and not Path("data.dvc").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["ill/00.png", "./ill/00.png", "ill//00.png"])
def test_archive_with_duplicate_file_is_refused(tmp_path, again):
    """`add` and `predict` would lose one of the two files. A folder may be listed twice."""
    raw = class_folders(tmp_path / "raw", images=2)
    members = {"ill": "ill", "ill/00.png": "ill/00.png", "well/00.png": again}
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed, tarfile.open(tmp_path / "set.tar", "w") as tape:
        for source, name in [("ill", "ill"), *members.items()]:
            packed.write(raw / source, name)
            tape.add(raw / source, name, recursive=False)
    for path in (tmp_path / "set.zip", tmp_path / "set.tar"):
        with pytest.raises(DcubeError, match=f"{path.name} holds 'ill/00.png' twice, and one would be lost"):
            unpack(path, new_folder(tmp_path / f"out of {path.name}"))
        with pytest.raises(DcubeError, match="twice"), collect_images([path]):
            pass


class _WithoutFlag(zipfile.ZipInfo):
    """A member whose name is stored in an encoding that no flag tells."""

    encoding = "utf-8"

    def _encodeFilenameFlags(self):  # noqa: N802 - the name is that of zipfile
        return self.filename.encode(self.encoding), self.flag_bits & ~0x800


def packed_as(file, folder, encoding, unicode_path=False):
    with zipfile.ZipFile(file, "w") as archive:
        for image in sorted(folder.rglob("*.png")):
            member = _WithoutFlag(image.relative_to(folder).as_posix())
            member.encoding, name = encoding, member.filename
            if unicode_path:
                crc = zlib.crc32(name.encode(encoding))
                member.extra = struct.pack("<HHBI", 0x7075, 5 + len(name.encode()), 1, crc) + name.encode()
            archive.writestr(member, image.read_bytes())
    return file


@pytest.mark.parametrize(
    ("classes", "encoding"),
    [
        (("正常", "恶性"), "gbk"), (("正常", "異常"), "shift_jis"), (("정상", "암"), "cp949"),
        (("здоров", "болен"), "cp866"),
        (("Gefäß", "gesund"), "cp850"), (("santé", "lésion"), "cp1252"),
    ],
)  # fmt: skip
def test_zip_with_names_in_an_unknown_encoding_is_refused(tmp_path, classes, encoding):
    file = packed_as(tmp_path / "set.zip", class_folders(tmp_path / "raw", classes, images=2), encoding)
    with pytest.raises(DcubeError, match="in an unknown encoding: pack the folder again with names in UTF-8"):
        add_dataset(Data(name="mine"), file, tmp_path / "data" / "mine")
    with pytest.raises(DcubeError, match="unknown encoding"), collect_images([file]):
        pass


@pytest.mark.parametrize(("encoding", "unicode_path"), [("utf-8", False), ("gbk", True)])
def test_zip_names_without_a_flag_are_read_as_utf8_or_from_the_extra_field(tmp_path, encoding, unicode_path):
    raw = class_folders(tmp_path / "raw", ("正常", "恶性"), images=5)
    file = packed_as(tmp_path / "set.zip", raw, encoding, unicode_path)
    report = add_dataset(Data(name="mine"), file, tmp_path / "data" / "mine")
    assert report.counts == {"": {"恶性": 5, "正常": 5}}
    with collect_images([file]) as (images, _):
        assert len(images) == 10


@pytest.mark.parametrize("cut", ["half", "all but the end", "whole"])
def test_last_part_of_a_split_zip_is_refused_with_the_command_to_join_it(tmp_path, cut):
    file = Path(shutil.make_archive(str(tmp_path / "set"), "zip", class_folders(tmp_path / "raw", images=20)))
    content = file.read_bytes()
    if cut != "whole":
        file.write_bytes(content[len(content) // 2 :] if cut == "half" else content[-300:])
    else:  # as the zip program writes it: the last record has the number of the part
        file.write_bytes(content[:-18] + b"\1\0" + content[-16:])
    with pytest.raises(DcubeError, match="lacks its beginning: fetch it again, or, if it came in parts"):
        unpack(file, new_folder(tmp_path / "out"))


@pytest.mark.parametrize("folder_first", [True, False])
def test_archive_with_a_file_and_a_folder_of_one_name_is_refused(tmp_path, folder_first):
    raw = class_folders(tmp_path / "raw", images=2)
    members = [("ill/00.png", "ill/00.png"), ("ill/01.png", "ill/00.png/x.png")]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed, tarfile.open(tmp_path / "set.tar", "w") as tape:
        for source, name in members[:: -1 if folder_first else 1]:
            packed.write(raw / source, name)
            tape.add(raw / source, name)
    for path in (tmp_path / "set.zip", tmp_path / "set.tar"):
        with pytest.raises(DcubeError, match=f"{path.name} holds 'ill/00.png' as a file and as a folder"):
            unpack(path, new_folder(tmp_path / f"out of {path.name}"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"7z\xbc\xaf'\x1c" + bytes(50), "a 7z archive: unpack it, and give the folder"),
        (b"Rar!\x1a\x07\1\0" + bytes(50), "a RAR archive: unpack it, and give the folder"),
        (b"\x28\xb5\x2f\xfd" + bytes(50), "data that Zstandard has compressed: unpack it, and give the folder"),
        (lzma.compress(b"image"), "data that xz has compressed: unpack it"),
        (b"file,label", "give one of these"),
    ],
)
def test_unsupported_archive_format_is_named_in_the_error(tmp_path, content, why):
    (tmp_path / "set.bin").write_bytes(content)
    with pytest.raises(DcubeError, match=why):
        unpack(tmp_path / "set.bin", new_folder(tmp_path / "out"))


def test_encrypted_archive_is_refused_with_a_hint(tmp_path):
    file = Path(shutil.make_archive(str(tmp_path / "set"), "zip", class_folders(tmp_path / "raw", images=1)))
    content = bytearray(file.read_bytes())
    for start, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := content.find(start, at + 1)) >= 0:
            content[at + flags] |= 1
    file.write_bytes(content)
    with pytest.raises(DcubeError, match="is encrypted: unpack it with its password, and give the folder"):
        unpack(file, new_folder(tmp_path / "out"))


def test_archive_with_huge_header_or_too_many_files_is_refused(tmp_path, monkeypatch):
    large = tarfile.TarInfo("pax")
    large.type, large.size = tarfile.XHDTYPE, 2**29
    with gzip.open(tmp_path / "set.tar.gz", "wb", 1) as file:
        file.write(large.tobuf())
        file.write(bytes(2**20))
    with pytest.raises(DcubeError, match=r"set.tar.gz cannot be unpacked: a header of 536.9 MB"):
        unpack(tmp_path / "set.tar.gz", new_folder(tmp_path / "out"))
    class_folders(tmp_path / "raw", images=3)
    monkeypatch.setenv("DCUBE_MAX_ARCHIVE_FILES", "5")
    monkeypatch.setattr("dcube.data.readers.archives.limits", read_settings)
    for suffix in ("tar", "zip"):
        file = shutil.make_archive(str(tmp_path / "set"), suffix, tmp_path / "raw")
        with pytest.raises(DcubeError, match="more files than DCUBE_MAX_ARCHIVE_FILES=5"):
            unpack(Path(file), new_folder(tmp_path / suffix))


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.xz"])
def test_a_damaged_archive_is_refused_in_one_line(tmp_path, suffix):
    """`add` and `predict` both refuse it, wherever the damage is."""
    class_folders(tmp_path / "raw", images=2)
    forms = {"zip": "zip", "tar.gz": "gztar", "tar.xz": "xztar"}
    whole = Path(shutil.make_archive(str(tmp_path / "set"), forms[suffix], tmp_path / "raw")).read_bytes()
    archive = tmp_path / f"set.{suffix}"
    where = whole.rindex(b"PK\1\2") + 42 if suffix == "zip" else 30  # the field with the offset of the last file
    for damaged in (whole[:40], whole[: len(whole) // 2], whole[:where] + b"\xff\xff\xff\xff" + whole[where + 4 :]):
        archive.write_bytes(damaged)
        with pytest.raises(DcubeError, match=f"set.{suffix} ") as refusal:
            unpack(archive, new_folder(tmp_path / f"out {len(list(tmp_path.iterdir()))}"))
        assert "\n" not in str(refusal.value)
        with pytest.raises(DcubeError, match=f"set.{suffix} "), collect_images([archive]):
            pass


def new_folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_refused_add_leaves_no_files(dcube, tmp_path):
    raw = class_folders(tmp_path / "raw")
    (raw / "ill" / "00.png").write_text("text")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 cut")
    refused(dcube("data", "add", "mine", raw), "mine was not added", "ill/00.png")
    refused(dcube("data", "add", "mine", tmp_path / "nowhere"), "nowhere does not exist")
    refused(dcube("data", "add", "mine", tmp_path / "notes.txt"), "neither a folder")
    refused(dcube("data", "add", "mine", tmp_path / "cut.zip"), "cut.zip")
    refused(dcube("data", "add", "../mine", raw), "data.name")
    refused(dcube("data", "add", "set_A", raw), "data.name: use lower-case letters, digits, _ and -", "set_A")
    refused(dcube("data", "add", "phantom", raw), "phantom")
    refused(dcube("data", "add", "no-such-set"), "not a MedMNIST set", "pneumoniamnist")
    assert left_behind() == [] and not Path("data.dvc").exists()


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


def test_check_and_add_name_broken_links_pipes_and_sockets(dcube, tmp_path):
    for number, (name, make, what) in enumerate(
        [
            ("00.png", lambda path: path.symlink_to("../.git/annex/objects/gone"), "is a broken link"),
            ("loop", lambda path: path.symlink_to("loop"), "is a broken link"),
            ("more", lambda path: path.symlink_to(path.parent.parent / "well"), "is a link to a folder"),
            ("cycle", lambda path: path.symlink_to(path.parent), "is a link to a folder"),
            ("pipe.png", os.mkfifo, "is a named pipe"),
            ("socket", _socket, "is a socket"),
        ]
    ):
        raw = class_folders(tmp_path / f"raw{number}", images=3)
        (raw / "ill" / name).unlink(missing_ok=True)
        make(raw / "ill" / name)
        for command in (("check",), ("add", "mine")):
            refused(dcube("data", *command, raw), f"{raw}: ill/{name} {what}: remove")
            if "folder" not in what:
                refused(dcube("data", *command, raw / "ill" / name), f"{name} {what}: give a file or a folder")
    assert left_behind() == []


def test_links_to_files_are_copied_and_hidden_entries_are_ignored(dcube, tmp_path):
    raw = class_folders(tmp_path / "raw")
    (raw / "ill" / "00.png").rename(tmp_path / "elsewhere.png")
    (raw / "ill" / "00.png").symlink_to(tmp_path / "elsewhere.png")
    os.mkfifo(raw / "ill" / ".pipe")
    (raw / "__MACOSX").symlink_to(raw)
    assert dcube("data", "add", "mine", raw)[0] == 0
    added = Path("data/mine")
    assert not (added / "ill" / "00.png").is_symlink() and len(list(added.rglob("*"))) == 22


def test_check_reports_duplicates_counts_and_unusable_images(dcube, tmp_path):
    raw = class_folders(tmp_path / "raw")
    Image.open(raw / "ill" / "00.png").save(raw / "ill" / "copy.png")
    code, out, _ = dcube("data", "check", raw, "--json")
    report = json.loads(out)
    assert code == 0 and report["accepted"] and report["duplicates"] == {"all": 1}
    assert report["duplicate_files"] == [["ill/00.png", "ill/copy.png"]]
    assert report["raw"]["modes"] == {"L": 21} and report["counts"] == {"": {"ill": 11, "well": 10}}
    (raw / "well" / "03.png").write_bytes(b"")
    np.save(raw / "other.npy", np.zeros(3))
    code, out, errors = dcube("data", "check", raw)
    assert "well/03.png" in out and "other.npy" in out and "would refuse it" in out
    refused((code, out, errors), "1 of 21 images", "well/03.png (empty file: fetch it again)")
    refused(dcube("data", "check", tmp_path / "nowhere"), "nowhere does not exist")


def test_params_commands_list_use_show_and_check_presets(dcube):
    assert dcube("params", "list")[1].split() == sorted(dcube("params", "list")[1].split())
    for name in dcube("params", "list")[1].split():
        assert dcube("params", "use", name)[0] == 0
        assert load_params(Path("params.yaml")) == load_preset(name)
    assert "patch_size" in dcube("params", "show")[1] and dcube("params", "check")[0] == 0
    edited = Path("params.yaml").read_text().replace("seed: 0", "seed: 1", 1)
    Path("params.yaml").write_text(edited)
    refused(dcube("params", "use", "phantom"), "--replace")
    assert Path("params.yaml").read_text() == edited
    assert dcube("params", "use", "phantom", "--replace")[0] == 0
    refused(dcube("params", "use", "fantom"), "phantom")
    Path("params.yaml").write_text("data: {image_sise: 3}\n")
    refused(dcube("params", "check"), "image_sise", "image_size")


def test_help_imports_no_heavy_packages():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dcube.cli", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and not any(f" {heavy}\n" in done.stderr for heavy in ("torch", "pandas", "mlflow"))


def test_name_of_the_embedded_set_is_reserved(dcube, tmp_path):
    raw = class_folders(tmp_path / "raw", images=10)
    refused(dcube("data", "add", "breastmnist", raw), "'breastmnist'", "reserved", "choose another")
    assert left_behind() == []
    assert dcube("data", "add", "breastmnist", ROOT / "dcube/data/embedded/breastmnist.npz")[0] == 0
