"""What a page is made of. All text is plain and escaped when it is rendered; pictures carry their own bytes."""

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
    """A paragraph that nobody may overlook."""

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
    """Rows of text; the first cell of each names the row. A line break in a cell is shown as one.

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
    """An image in the page itself.

    Attributes:
        source: a `data:` address.
        alt: what the picture says, for who does not see it.
        width, height: in pixels, of the file.
        plot: a drawing on white, whose lightness a dark page turns round; photographs stay as they are.
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
    """Pictures side by side, as many as there is room for.

    Attributes:
        small: many small ones instead of a few large ones.
    """

    pictures: Sequence[PageImage]
    small: bool = False
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Fold:
    """What is shown on request."""

    title: str
    parts: Sequence["Part"]
    kind: ClassVar[str] = "fold"


Part = Text | Notice | Items | Heading | Table | PageImage | Gallery | Fold


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading, and an entry in the table of contents; `name` is its address."""

    name: str
    title: str
    parts: Sequence[Part]
