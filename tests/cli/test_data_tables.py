"""The tables that `dcube data check` prints."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from dcube.artifacts.schemas.dataset import Extent, RawImages
from dcube.cli.data_tables import inspection_tables
from dcube.config.schema import Data
from dcube.data.group_checks import GroupCheck
from dcube.data.inspection import InspectionReport, inspect_dataset
from tests.support.raw_sets import medmnist_file

ON_THEIR_OWN = GroupCheck("image", 30, 1, 1.0, 1, accuracy=0.9, at_random=0.9, spread=0.01, own_group=0.0)
RUNS = GroupCheck("run:10", 3, 10, 10.0, 10, accuracy=0.6, at_random=0.8, spread=0.01, own_group=0.7)


def printed(report: InspectionReport, width: int = 120) -> str:
    shown = io.StringIO()
    Console(width=width, file=shown).print(inspection_tables(report))
    return shown.getvalue()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> InspectionReport:
    path = tmp_path_factory.mktemp("raw") / "set.npz"
    medmnist_file(path, images=30)
    return inspect_dataset(path, Data(image_size=24, diffusion_image_size=16))


def test_many_contradicting_labels_are_abbreviated(report):
    groups = [[f"ill/{i}.png", f"well/{i}.png"] for i in range(140)]
    said = printed(replace(report, contradictions=groups))
    assert "140 groups of equal images: ill/0.png = well/0.png" in said and "and 137 more" in said
    assert len(said.splitlines()) < 50
    assert "1 group of equal images: a = b" in printed(replace(report, contradictions=[["a", "b"]]))


def test_leak_table_is_shown_only_if_a_grouping_is_proposed(report):
    assert "How much a split" not in printed(replace(report, group_checks=[ON_THEIR_OWN]))
    said = printed(replace(report, group_checks=[ON_THEIR_OWN, RUNS]))
    assert "0.600 *" in said and "0.800 ± 0.010" in said and "group_by 1: run:10" in said
    assert "0.900 *" not in said


def test_values_of_the_leak_table_are_whole_in_a_narrow_terminal_and_stand_below_it(report):
    long = replace(RUNS, by=r"pattern:(?i)((?:patient|case)[_ -]?[0-9]+)", strays=("ill/scan.jpg", "well/a.jpg"))
    said = printed(replace(report, group_checks=[ON_THEIR_OWN, RUNS, long]), width=80)
    assert "0.800 ± 0.010" in said and "0.600 *" in said
    assert "images in a" in said and "1 … 1," in said, "no word is cut"
    values = said.splitlines()[said.splitlines().index("group_by 1: run:10") :]
    assert values[1:3] == [f"group_by 2: {long.by}", "  2 images in no group: ill/scan.jpg and 1 more"]


def test_sizes_and_modes_are_in_words(report):
    said = printed(replace(report, raw=RawImages(modes={"L": 30}, width=Extent(smallest=28, median=28, largest=28))))
    assert "8-bit grey (30)" in said and "28 pixels" in said and ", none of them without a label" in said
    assert "28 … 40 pixels, median 30" in printed(
        replace(report, raw=RawImages(width=Extent(smallest=28, median=30, largest=40)))
    )
