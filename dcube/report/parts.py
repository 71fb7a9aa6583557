"""Parts of a page. All text is plain and is escaped when it is rendered; pictures contain their own bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Notice:
    """A highlighted paragraph, for warnings."""

    text: str
    kind: ClassVar[str] = "notice"


@dataclass(frozen=True)
class Items:
    """A bullet list."""

    items: Sequence[str]
    kind: ClassVar[str] = "items"


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of each row is its header. Line breaks in a cell are kept.

    Attributes:
        numbers: whether all other cells are numbers, which are set narrower.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class PageImage:
    """An image embedded in the page.

    Attributes:
        source: `data:` URL with the image.
        alt: description for readers who cannot see the image.
        width, height: size of the file in pixels.
        plot: whether it is a drawing on white, which is inverted on a dark page, and not a data-set image.
    """

    source: str
    alt: str
    caption: str
    width: int
    height: int
    plot: bool
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many per row as fit.

    Attributes:
        small: whether to show many small pictures instead of a few large ones.
    """

    pictures: Sequence[PageImage]
    small: bool = False
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Fold:
    """Parts that are hidden until the reader opens them."""

    title: str
    parts: Sequence["Part"]
    kind: ClassVar[str] = "fold"


Part = Text | Notice | Items | Heading | Table | PageImage | Gallery | Fold


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading and an entry in the table of contents; `name` is its anchor."""

    name: str
    title: str
    parts: Sequence[Part]
