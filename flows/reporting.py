"""Artifacts of a run in the Prefect UI: progress and pictures of every stage, and a link to MLflow."""

import re
import tempfile
from base64 import b64encode
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from uuid import UUID

import httpx
from PIL import Image
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)

from dcube.artifacts.schemas.progress import ProgressUpdate

LARGEST_PICTURE = 800  # pixels


class StageProgress:
    """The progress artifact of one stage, created with the first update. Errors of the server are ignored."""

    def __init__(self, stage: str, pictures: "ShownPictures | None" = None) -> None:
        self.key = f"progress-{slug(stage)}"
        self.pictures = pictures
        self.artifact: UUID | None = None

    def show(self, update: ProgressUpdate) -> None:
        percent, text = 100 * update.completed / max(update.total, 1), progress_text(update)
        try:
            if self.artifact is None:
                self.artifact = create_progress_artifact(percent, key=self.key, description=text)  # type: ignore[assignment]
            else:
                update_progress_artifact(self.artifact, percent, description=text)
        except httpx.HTTPError:
            return  # the next update tries again
        if self.pictures:
            self.pictures.show()


class ShownPictures:
    """The pictures (PNG) that a stage writes to `folder`, each as an artifact; a new picture of a name replaces it.

    They are shown with the progress, and once more at the end of the block. They are Markdown artifacts, because the
    page of an image artifact prints its address, which here contains the whole picture.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._shown: dict[Path, int] = {}

    def __enter__(self) -> "ShownPictures":
        self._temporary = tempfile.TemporaryDirectory(prefix="dcube-pictures-")
        self.folder = Path(self._temporary.name)
        return self

    def __exit__(self, *_: object) -> None:
        with self._temporary:
            self.show()

    def show(self) -> None:
        for picture in sorted(self.folder.glob("[!.]*.png")):
            changed = picture.stat().st_mtime_ns
            if self._shown.get(picture) != changed:
                with suppress(httpx.HTTPError, OSError):  # a missing picture must not end a run
                    create_markdown_artifact(
                        f"![{picture.stem}]({_inline(picture)})",
                        key=slug(f"{self.stage}-{picture.stem}"),
                        description=f"Picture of the stage {self.stage}: {picture.stem.replace('_', ' ')}",
                    )
                    self._shown[picture] = changed


def _inline(picture: Path) -> str:
    """Return the picture as a `data:` URL. Prefect's page cannot load it from MLflow, which requires a password."""
    buffer = BytesIO()
    with Image.open(picture) as image:
        image.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
        image.save(buffer, "PNG")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode('ascii')}"


def progress_text(update: ProgressUpdate) -> str:
    rate = f"{update.rate:,.0f}" if update.rate >= 100 else f"{update.rate:.3g}"
    parts = [f"{update.completed}/{update.total} {update.unit}", f"{rate} {update.unit}/s"]
    if update.remaining_s:
        parts.append(f"{update.remaining_s:.0f} s left")
    parts += [f"{name} {value:.4g}" for name, value in update.values.items()]
    return f"{update.description}: {', '.join(parts)}"


def show_page(address: str) -> None:
    create_link_artifact(
        address, "This run in MLflow", key="mlflow", description="All its curves, metrics and pictures"
    )


def slug(name: str) -> str:
    """Return lower-case letters, digits and dashes, which are valid in Prefect's keys and git's references."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
