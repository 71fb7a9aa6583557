"""Monitoring of the inference log by period, on predictions with known counts."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from dcube.artifacts.schemas.drift import DriftReference
from dcube.inference.drift import PROPERTIES, drifted_in_words
from dcube.inference.log import read_log
from dcube.inference.monitoring import Reader, periods, readers

REFERENCE = DriftReference(
    images=200,
    values={name: np.linspace(0.6, 0.9, 200).tolist() for name in PROPERTIES},
    predicted={"ill": 0.5, "well": 0.5},
)


def predicted(month: int, *shifted: str) -> pd.DataFrame:
    """100 predictions in this month of 2026, every second `ill`, one in ten abstaining."""
    number = np.arange(100)
    prediction = np.where(number % 2, "ill", "well")
    return pd.DataFrame(
        {
            "input_sha256": [f"{month}-{n}" for n in number],
            "predicted_at": [f"2026-{month:02d}-{1 + n % 28:02d}T10:00:00+00:00" for n in number],
            "prediction": prediction,
            "decision": np.where(number % 10 == 0, "abstain", prediction),
        }
        | {name: np.linspace(0.6, 0.9, 100) + (name in shifted) * 0.2 for name in PROPERTIES}
    )


def test_monthly_periods_count_feedback_and_report_drift():
    lines = [("1-1", "ill", "truth"), ("1-3", "well", "truth"), ("1-10", "ill", "truth"), ("3-2", "ill", "reader")]
    lines += [("3-4", "well", "reader"), ("1-3", "ill", "reader")]  # the confirmed class of 1-3 has priority
    fed_back = pd.DataFrame(lines, columns=["input_sha256", "label", "source"])
    log = pd.concat([predicted(3, "brightness", "confidence"), predicted(1)], ignore_index=True)
    january, march = periods(log, fed_back, REFERENCE, "month")
    assert (january.start, march.start) == ("2026-01-01", "2026-03-01")
    assert (january.predictions, january.abstained, january.with_feedback, january.correct) == (100, 10, 2, 1)
    assert (march.predictions, march.abstained, march.with_feedback, march.correct) == (100, 10, 2, 1)
    assert january.by_class == {"ill": (1, 1), "well": (0, 1)}
    assert not any(row.drifted for row in january.drift)
    assert drifted_in_words(march.drift) == "Drift: brightness, confidence of the prediction."


PREDICTED = {
    "format_version": 1, "input_sha256": "0" * 64, "predicted_at": "2026-01-01T10:00:00+00:00", "decision": "ill",
    "prediction": "ill", "confidence": None, "entropy": None,
    "brightness": 90.0, "contrast": 30.0, "dark": 0.0, "bright": 0.0, 
    "model": "m", "weights_sha256": "1" * 64, "p_ill": 1.0,
}  # fmt: skip
FED_BACK = {
    "format_version": 1, "input_sha256": "0" * 64, "label": "ill", "source": "truth",
    "fed_back_at": "2026-01-02T10:00:00+00:00",
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({}, "line 2 has no format version"),
        ([], "line 2 has no format version"),
        (b'{"format_version": 1, "input_sh', "line 2 is not JSON"),
        (b"\0\0\xff", "line 2 is not JSON"),
        (PREDICTED | {"format_version": 2}, "line 2 has format version 2"),
        (PREDICTED | {"predicted_at": "today"}, r"line 2 does not fit .*predicted_at"),
        (PREDICTED | {"decision": None}, r"line 2 does not fit .*decision"),
        (FED_BACK | {"source": ""}, r"line 2 does not fit .*source"),
    ],
)
def test_damaged_log_line_is_named_and_the_others_are_read(line, said, tmp_path, monkeypatch):
    log = tmp_path / "predictions.jsonl"
    monkeypatch.setenv("DCUBE_INFERENCE_LOG", str(log))
    damaged = line if isinstance(line, bytes) else json.dumps(line).encode()
    lines = [json.dumps(each).encode() for each in (PREDICTED, FED_BACK)]
    log.write_bytes(b"\n".join([lines[0], damaged, b"", lines[1], damaged, b""]))
    found = read_log()
    assert set(found.predictions) == PREDICTED.keys() - {"format_version"} and list(found.fed_back["label"]) == ["ill"]
    assert found.skipped.startswith("left out: 2 × damaged line: ") and "\n" not in found.skipped
    assert re.search(f"predictions.jsonl {said}.*: restore the line, or move the file away", found.skipped)


def test_readers_are_compared_with_the_model_and_the_confirmed_classes():
    lines = [("1-1", "ill", "truth"), ("1-1", "well", "Lee"), ("1-3", "well", "Lee"), ("1-3", "ill", "Lee")]
    lines += [("1-1", "ill", "Roy"), ("1-10", "ill", "Roy"), ("9-9", "ill", "Roy"), ("9-9", "ill", "Kim")]
    fed_back = pd.DataFrame(lines, columns=["input_sha256", "label", "source"])
    assert list(readers(predicted(1), fed_back)) == [
        Reader("Lee", images=2, as_predicted=1, confirmed=1, correct=0),
        Reader("Roy", images=1, as_predicted=1, confirmed=1, correct=1),  # 1-10 abstained, 9-9 was never predicted
    ]
