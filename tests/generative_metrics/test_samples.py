"""The order in which real images of a class are taken."""

import pandas as pd

from dcube.generative_metrics.samples import one_image_per_patient_first


def test_one_image_of_each_patient_is_taken_first() -> None:
    patients = pd.Series(["a", "a", "b", "", "", "b", "a"])
    assert one_image_per_patient_first(patients).tolist() == [0, 2, 3, 4, 1, 5, 6]
