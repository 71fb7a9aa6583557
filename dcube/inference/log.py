"""The inference log: one JSON line for each answer, appended to the file that `DCUBE_INFERENCE_LOG` names.

It says which version answered what and when, about an image with which sha256 (of its preprocessed pixels). It holds no
pixels, and no name of a file or a patient.
"""

import os

import pandas as pd

from dcube.runtime.settings import read_settings

NAMES = ["image", "problem"]  # columns that say, or may say, what the file is called


def log_answers(rows: pd.DataFrame) -> None:
    """Append the answered images among the rows of predictions; nothing, where no log is named.

    Several processes may share a file: the lines of one call are one write at its end.
    """
    file = read_settings().inference_log
    answered = rows[rows["input_sha256"] != ""].drop(columns=NAMES, errors="ignore")
    if file is None or answered.empty:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(target, "ab", buffering=0) as log:
        log.write(answered.to_json(orient="records", lines=True, double_precision=15).encode())
