"""Pseudonyms: the only names of patients and files outside the raw data.

A pseudonym is the start of the HMAC-SHA-256 of a name. The key is a salt that is created once on this machine, or
shared by a team through `DCUBE_SALT_FILE`. Nobody can guess names without the salt; its owner can find a file again.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dcube.config.schema import Data
from dcube.data.grouping_errors import GroupingError
from dcube.data.layout_detection import read_raw_dataset, refuse_missing_set
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.readers.raw_image import RawImage, UnusableImageError
from dcube.errors import DcubeError, abbreviated
from dcube.runtime.settings import read_settings

SALT_BYTES = 32
FEWEST_SALT_BYTES = 16
PSEUDONYM_LENGTH = 16  # hexadecimal digits


def read_private_dataset(path: Path, data: Data) -> RawDataset:
    """Read a raw data set with pseudonyms in place of names, unless `data.identifiers` is `kept`.

    Raises:
        DcubeError: if the data set cannot be read; the message names no file if identifiers are hashed.
    """
    if data.identifiers == "kept":
        dataset = read_raw_dataset(path, data)
        if dataset.is_medical:
            raise DcubeError(
                f"data.identifiers: kept is for plain images, and {data.name} holds DICOM or NIfTI: set it to hashed"
            )
        return dataset
    salt = read_salt()
    refuse_missing_set(path)
    try:
        dataset = read_raw_dataset(path, data)
    except GroupingError:
        raise
    except DcubeError:
        raise DcubeError(
            f"{data.name} cannot be used, and names stay out of logs: `dcube data check {path}` says why"
        ) from None
    return pseudonymise(dataset, salt)


def pseudonymise(dataset: RawDataset, salt: bytes) -> RawDataset:
    """Return the same images in the same order, with pseudonyms as files and patients."""

    def read(i: int) -> RawImage:
        try:
            return dataset.read(i)
        except OSError as error:  # its text contains the path
            raise UnusableImageError(error.strerror or "cannot be read") from None

    records = [
        replace(record, file=pseudonym(record.file, salt), patient=record.patient and pseudonym(record.patient, salt))
        for record in dataset.records
    ]
    return replace(dataset, records=records, read=read, ignored=(), left_out={}, suspects={})


def find_pseudonyms(path: Path, data: Data, pseudonyms: Iterable[str]) -> dict[str, list[ImageRecord]]:
    """Find the records whose file or patient has one of the pseudonyms.

    Returns:
        Pseudonym → its records, with their real names.

    Raises:
        DcubeError: if a pseudonym belongs to no file and no patient of this data set; the message names it.
    """
    salt = read_salt()
    wanted: dict[str, list[ImageRecord]] = {name: [] for name in pseudonyms}
    for record in read_raw_dataset(path, data).records:
        for name in {pseudonym(record.file, salt), pseudonym(record.patient, salt)} & set(wanted):
            wanted[name].append(record)
    unknown = [name for name, records in wanted.items() if not records]
    if unknown:
        raise DcubeError(
            f"nothing in {path} has the pseudonym {abbreviated(unknown)}: is {_salt_file()} the salt that was used?"
        )
    return wanted


def pseudonym(name: str, salt: bytes) -> str:
    return hmac.new(salt, name.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:PSEUDONYM_LENGTH]


def read_salt() -> bytes:
    """Return this installation's salt, which is created on first use.

    Raises:
        DcubeError: if the salt is too short, or is in a git repository, from where it might be pushed.
    """
    path = _salt_file()
    if any((folder / ".git").exists() for folder in path.absolute().parents):
        raise DcubeError(f"the salt {path} lies in a git repository: move it out, and set DCUBE_SALT_FILE to its path")
    if not path.exists():
        _make_salt(path)
    salt = path.read_bytes()
    if len(salt) < FEWEST_SALT_BYTES:
        raise DcubeError(f"the salt {path} has {len(salt)} bytes: give it at least {FEWEST_SALT_BYTES} random ones")
    return salt


def _salt_file() -> Path:
    return read_settings().salt_file.expanduser()


def _make_salt(path: Path) -> None:
    """Create the salt file atomically: two processes that create it at the same time use the same salt."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(SALT_BYTES))
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
