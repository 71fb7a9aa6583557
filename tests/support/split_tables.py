"""Tables of images before they are split, invented by hypothesis."""

import pandas as pd
from hypothesis import strategies as st

from dcube.config.loading import params_from


def data_params(**values):
    return params_from({"data": values}, "test").data


def table(rows: list[tuple[str, str, str, str]]) -> pd.DataFrame:
    """Rows of label, patient, split, content."""
    frame = pd.DataFrame(rows, columns=["label", "patient", "split", "sha256"], dtype=str)
    return frame.assign(file=[f"{i}.png" for i in range(len(rows))], picture=pd.factorize(frame["sha256"])[0])


@st.composite
def raw_tables(draw) -> pd.DataFrame:
    """Two to four classes of at least three patients, each with one to six images; some copies, some unlabelled."""
    rows = []
    for c in range(draw(st.integers(2, 4))):
        for p, images in enumerate(draw(st.lists(st.integers(1, 6), min_size=3, max_size=25))):
            known = draw(st.booleans())
            for i in range(images):
                content = f"{c}-{p}-{i // 2 if draw(st.booleans()) else i}"
                label = "" if i > 0 and draw(st.integers(0, 9)) == 0 else f"class{c}"
                rows.append((label, f"{c}-{p}" if known else "", "", content))
    return table(draw(st.permutations(rows)))
