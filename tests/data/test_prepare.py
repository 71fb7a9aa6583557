"""From raw folders to the prepared data set; bad input gives an error of one line."""

import errno
import hashlib
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from dcube.artifacts.schemas.dataset import SPLITS
from dcube.config.loading import params_from
from dcube.data.inspection import inspect_dataset
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from tests.support.raw_sets import class_folders, medmnist_file, noise, save, with_metadata, write_metadata


def data_params(**values):
    values = {"image_size": 24, "diffusion_image_size": 16, "identifiers": "kept", **values}
    return params_from({"data": values}, "test").data


def test_arrays_manifest_and_info_agree(tmp_path):
    raw = class_folders(tmp_path / "raw")
    save(raw / "unlabelled" / "more" / "ü x.png", noise(7))
    dataset = prepare(raw, data_params(), tmp_path / "out")
    assert dataset.classes == ["ill", "well"] and dataset.info.unlabelled == 1
    assert dataset.images(24).shape == (21, 1, 24, 24) and dataset.images(16).shape == (21, 1, 16, 16)
    for i, row in dataset.manifest.iterrows():
        assert np.array_equal(dataset.images(24)[i, 0], np.asarray(Image.open(raw / row["file"])))
        assert row["sha256"] == hashlib.sha256(dataset.images(24)[i].tobytes()).hexdigest()
        assert row["label"] == ("" if "unlabelled" in row["file"] else row["file"].split("/")[0])
    assert dataset.manifest["file"].is_monotonic_increasing and dataset.patients is None
    counted = {s: sum(dataset.info.counts[s].values()) for s in SPLITS}
    assert counted == {s: len(dataset.indices(s)) for s in SPLITS}
    assert not dataset.info.is_phantom or dataset.name == "phantom"


def test_preparing_twice_gives_the_same_bytes(tmp_path):
    raw = with_metadata(tmp_path / "raw", patients=20)
    for name in ("one", "two"):
        prepare(raw, data_params(), tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_fingerprint_depends_on_pixels_patients_and_splits_but_not_on_names(tmp_path):
    def fingerprint(raw, **values):
        return prepare(raw, data_params(**values), tmp_path / "out").fingerprint

    raw = with_metadata(tmp_path / "raw", patients=20)
    before = fingerprint(raw)
    assert fingerprint(raw, seed=3) != before and fingerprint(raw, image_size=32) != before
    (raw / "metadata.csv").write_text((raw / "metadata.csv").read_text().replace("P19", "P20"))
    assert fingerprint(raw) == before, "names must not matter: each installation has pseudonyms of its own"
    (raw / "metadata.csv").write_text((raw / "metadata.csv").read_text().replace("P20", "P17"))
    regrouped = fingerprint(raw)
    save(raw / "0_0.png", noise(999))
    assert len({before, regrouped, fingerprint(raw)}) == 3


def test_splits_of_the_metadata_table_are_official(tmp_path):
    split = dict(enumerate(["train", "train", "VAL", "valid", "test", "Test"]))
    raw = with_metadata(tmp_path / "raw", patients=6, split=split)
    dataset = prepare(raw, data_params(), tmp_path / "out")
    assert dataset.info.split_origin == "official" and dataset.info.patients == 6
    assert dataset.manifest["split"].value_counts().to_dict() == {"train": 4, "validation": 4, "test": 4}


def test_warning_names_the_classes_with_one_test_patient(tmp_path):
    split = dict(enumerate(["train", "train", "val", "val", "test", "test", "test"]))
    raw = with_metadata(tmp_path / "raw", patients=7, split=split)
    (said,) = prepare(raw, data_params(), tmp_path / "out").info.warnings
    assert said.startswith("test has images of one patient (or one image) only of 'ill': ")


def test_split_folders_are_the_official_split(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        for c in ("ill", "well"):
            save(tmp_path / "raw" / split / c / "deep" / "a.png", noise(10 * number + len(c)))
    save(tmp_path / "raw" / "unlabelled" / "b.png", noise(99))
    dataset = prepare(tmp_path / "raw", data_params(), tmp_path / "out")
    assert dataset.info.split_origin == "official" and len(dataset.indices("train", labelled=False)) == 3


def test_dropped_copies_are_removed_from_the_arrays(tmp_path):
    file = medmnist_file(tmp_path / "set.npz")
    arrays = dict(np.load(file))
    arrays["train_images"][3] = arrays["val_images"][1]
    np.savez(file, **arrays)
    dataset = prepare(file, data_params(image_size=28), tmp_path / "out")
    assert [entry.file for entry in dataset.info.dropped_duplicates] == ["set.npz/train/000003"]
    assert len(dataset.images(28)) == len(dataset.images(16)) == len(dataset.manifest) == 23
    assert np.array_equal(dataset.images(28)[3, 0], arrays["train_images"][4])
    assert dataset.manifest["id"].tolist() == [str(i) for i in range(23)]
    assert dataset.classes == ["class_0", "class_1"]


def test_colour_medmnist_pixels_are_unchanged(tmp_path):
    images = np.stack([np.stack([noise(9 * i + c, (28, 28)) for c in range(3)], axis=2) for i in range(8)])
    file = medmnist_file(tmp_path / "set.npz", train_images=images)
    dataset = prepare(file, data_params(channels=3, image_size=28), tmp_path / "out")
    assert np.array_equal(dataset.images(28)[0], images[0].transpose(2, 0, 1))


def test_copies_stay_in_one_generated_split(tmp_path):
    raw = class_folders(tmp_path / "raw")
    for i in range(8):
        shutil.copy(raw / "ill" / "00.png", raw / "ill" / f"copy {i}.png")
        Image.open(raw / "well" / "00.png").save(raw / "well" / f"same pixels {i}.bmp")
    manifest = prepare(raw, data_params(), tmp_path / "out").manifest
    assert (manifest.groupby("sha256")["split"].nunique() == 1).all()


def nothing(raw):
    raw.mkdir()


def one_class(raw):
    class_folders(raw, classes=("ill",))


def class_missing_in_a_split(raw):
    class_folders(raw)
    save(raw / "rare" / "a.png", noise(5000))


def empty_class(raw):
    class_folders(raw)
    (raw / "rare").mkdir()


def three_bad_files(raw):
    class_folders(raw)
    (raw / "ill" / "05.png").write_bytes(b"")
    (raw / "ill" / "06.png").write_text("a text")
    Image.new("L", (24, 24), 3).save(raw / "well" / "07.png")


def one_pixel(raw):
    save(class_folders(raw) / "ill" / "05.png", np.zeros((1, 1), np.uint8))


def huge(raw):
    Image.new("1", (20_000, 20_000)).save(class_folders(raw) / "ill" / "05.png")


def patient_in_two_splits(raw):
    with_metadata(raw, patients=6, split=dict(enumerate(["train", "train", "val", "val", "test", "test"])))
    (raw / "metadata.csv").write_text((raw / "metadata.csv").read_text().replace("P4", "P0"))


def metadata_without_label(raw):
    with_metadata(raw)
    (raw / "metadata.csv").write_text((raw / "metadata.csv").read_text().replace("label", "diagnosis", 1))


def unknown_label(raw):
    class_folders(raw)
    files = sorted(file.relative_to(raw).as_posix() for file in raw.rglob("*.png"))
    write_metadata(raw, [{"file": f, "label": "wel" if f == "well/03.png" else f.split("/")[0]} for f in files])


def unknown_split(raw):
    with_metadata(raw, patients=6, split=dict(enumerate(["train", "train", "val", "val", "test", "tset"])))


def listed_but_missing(raw):
    (with_metadata(raw) / "3_0.png").unlink()


def there_but_not_listed(raw):
    save(with_metadata(raw) / "extra.png", noise(4000))


def listed_twice(raw):
    with_metadata(raw)
    lines = (raw / "metadata.csv").read_text().splitlines(keepends=True)
    (raw / "metadata.csv").write_text("".join([*lines, lines[1]]))


def outside(raw):
    with_metadata(raw)
    save(raw.parent / "secret.png", noise(1))
    (raw / "metadata.csv").write_text((raw / "metadata.csv").read_text().replace("3_0.png", "../secret.png"))


def latin1(raw):
    with_metadata(raw)
    (raw / "metadata.csv").write_bytes("file,label\nä.png,ill\n".encode("latin-1"))


def loose_image(raw):
    save(class_folders(raw) / "loose.png", noise(4000))


def two_labels(raw):
    shutil.copy(class_folders(raw) / "ill" / "00.png", raw / "well" / "again.png")


def no_test(raw):
    for c in ("ill", "well"):
        for split in ("train", "val"):
            save(raw / split / c / "a.png", noise(len(c + split)))


BAD = [
    (nothing, ["contains no images"]),
    (one_class, ["two classes", "ill"]),
    (class_missing_in_a_split, ["'rare'", "rare/a.png"]),
    (empty_class, ["rare", "no images"]),
    (three_bad_files, ["3 of 20", "ill/05.png (empty", "ill/06.png (text in place of", "well/07.png (constant"]),
    (one_pixel, ["ill/05.png", "1 × 1"]),
    (huge, ["ill/05.png", "more pixels than DCUBE_MAX_MEGAPIXELS=64"]),
    (patient_in_two_splits, ["'P0'", "train and test", "0_0.png", "4_0.png"]),
    (metadata_without_label, ["metadata.csv", "'label'", "diagnosis"]),
    (unknown_label, ["metadata.csv", "'wel'", "well/03.png", "did you mean well"]),
    (unknown_split, ["metadata.csv", "'tset'"]),
    (listed_but_missing, ["metadata.csv line 8", "3_0.png"]),
    (there_but_not_listed, ["metadata.csv", "extra.png"]),
    (listed_twice, ["line 22", "listed twice"]),
    (outside, ["no image '../secret.png'"]),
    (latin1, ["metadata.csv", "UTF-8"]),
    (loose_image, ["loose.png", "class folder"]),
    (two_labels, ["several labels", "ill/00.png (ill) = well/again.png (well)"]),
    (no_test, ["without 'test'"]),
]


@pytest.mark.parametrize(("make", "words"), BAD, ids=[make.__name__ for make, _ in BAD])
def test_bad_input_gives_one_line_and_keeps_the_last_good_output(tmp_path, make, words):
    out = tmp_path / "out"
    fingerprint = prepare(class_folders(tmp_path / "good"), data_params(), out).fingerprint
    make(tmp_path / "raw")
    with pytest.raises(DcubeError) as error:
        prepare(tmp_path / "raw", data_params(), out)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)
    assert json.loads((out / "dataset.json").read_text())["fingerprint"] == fingerprint
    assert sorted(path.name for path in tmp_path.iterdir() if "partial" in path.name) == []


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"train_labels": np.zeros((8, 14), np.uint8)}, ["14 labels"]),
        ({"train_images": np.zeros((8, 28, 28, 28), np.uint8)}, ["(8, 28, 28, 28)"]),
        ({"train_labels": np.zeros((7, 1), np.uint8)}, ["expected 8 integers"]),
        (
            {"val_images": np.array([{}], dtype=object)},
            ["not a readable MedMNIST", "val_images.npy holds Python objects"],
        ),
        ({"test_images": np.full((8, 28, 28), np.nan)}, ["8 of 24", "NaN"]),
        ({"train_images": np.full((8, 28, 28), 7)}, ["train_images holds int64: store uint8, uint16 or floats in 0…1"]),
        ({"train_images": np.ones((8, 28, 28), bool)}, ["train_images holds bool"]),
        ({"val_images": np.full((8, 28, 28), 1j)}, ["val_images holds complex128"]),
        ({"test_images": np.full((8, 28, 28), "a")}, ["test_images holds <U1"]),
        ({"train_labels": np.arange(8) % 2 - 1}, ["train_labels holds -1"]),
    ],
)
def test_bad_npz_arrays_are_refused_with_the_reason(tmp_path, arrays, words):
    with pytest.raises(DcubeError) as error:
        prepare(medmnist_file(tmp_path / "set.npz", **arrays), data_params(), tmp_path / "out")
    assert all(word in str(error.value) for word in words), error.value


def test_damaged_archive_and_multi_label_set_are_refused(tmp_path):
    (tmp_path / "set.npz").write_text("no archive")
    with pytest.raises(DcubeError, match="not a readable MedMNIST archive"):
        prepare(tmp_path / "set.npz", data_params(), tmp_path / "out")
    with pytest.raises(DcubeError, match="several labels an image"):
        prepare(medmnist_file(tmp_path / "chestmnist.npz"), data_params(), tmp_path / "out")


def test_full_disk_is_noticed_before_any_pixel_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(class_folders(tmp_path / "raw"), data_params(), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_dark_16bit_set_causes_a_warning(tmp_path):
    for c in "ab":
        for i in range(5):
            save(tmp_path / "raw" / c / f"{i}.png", noise(10 * ord(c) + i).astype(np.uint16) * 16)
    assert "nearly black" in inspect_dataset(tmp_path / "raw", data_params()).warnings[0]
