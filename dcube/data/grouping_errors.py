"""What is wrong with the parameters that group images. A report on the data set can be made without them."""

from typing import Any, ClassVar

from dcube.errors import DcubeError


class GroupingError(DcubeError):
    """Names no file: it may be shown where file names may not.

    Attributes:
        without: what `Data` needs for the set to be read all the same.
    """

    without: ClassVar[dict[str, Any]] = {"group_by": None}


class SubgroupError(GroupingError):
    """Names a column, and no value of it."""

    without: ClassVar = {"subgroups": []}
