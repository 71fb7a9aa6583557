"""Errors in the parameters that group images. A report on the data set is still possible without these parameters."""

from collections.abc import Sequence
from typing import Any, ClassVar

from dcube.errors import DcubeError


class GroupingError(DcubeError):
    """Error in a grouping parameter. The message names no file, so it may be shown where file names may not.

    Attributes:
        without: values of `Data` fields with which the data set can be read all the same.
        rows: row numbers of the images that the message is about.
    """

    without: ClassVar[dict[str, Any]] = {"group_by": None}

    def __init__(self, message: str, rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.rows = rows


class SubgroupError(GroupingError):
    """Error in `data.subgroups`. The message names a column, but none of its values."""

    without: ClassVar = {"subgroups": []}
