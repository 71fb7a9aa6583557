"""A point in time in files and tags: ISO 8601 with a time zone."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator


def _refuse_other_text(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its time zone")
    return text


Moment = Annotated[str, AfterValidator(_refuse_other_text)]
