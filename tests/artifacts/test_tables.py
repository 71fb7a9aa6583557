"""CSV and Markdown tables: text is never a formula or a link, and is read back as it was written."""

from io import StringIO

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from dcube.artifacts.markdown import markdown_table
from dcube.artifacts.tables import read_csv, to_csv
from dcube.inference.output import as_csv

FORMULAS = ("=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "'=1", "''-1")


def test_text_that_looks_like_a_formula_is_quoted(tmp_path):
    rows = pd.DataFrame({"image": FORMULAS, "=head": "'quoted'", "number": -1.5})
    raw = pd.read_csv(StringIO(as_csv(rows)), dtype=str, keep_default_na=False)
    assert raw["image"].str.startswith("'").all() and list(raw.columns) == ["image", "'=head", "number"]
    assert set(raw["'=head"]) == {"'quoted'"} and set(raw["number"]) == {"-1.5"}, "others stay"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")), min_size=1))
def test_text_is_read_back_as_written(tmp_path_factory, texts):
    file = tmp_path_factory.mktemp("table") / "table.csv"
    table = pd.DataFrame({"text": texts, "value": -1.0})
    to_csv(table, file)
    found = read_csv(file, dtype={"text": str}, keep_default_na=False)
    assert list(found["text"]) == texts and list(found["value"]) == [-1.0] * len(texts)


def test_links_in_markdown_tables_are_escaped():
    table = markdown_table(["a|b"], [["[x](javascript:alert(1))"], ["<javascript:x>"], ["p < 0.001, **bold**"]])
    assert table.splitlines() == [
        r"| a\|b |",
        "| --- |",
        r"| [x\](javascript:alert(1)) |",
        r"| \<javascript:x> |",
        "| p < 0.001, **bold** |",
    ]
