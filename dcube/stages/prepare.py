"""Stage prepare: turn raw images into arrays, manifest and splits."""

from dcube.artifacts.layout import DATASET, PREPARED, RAW
from dcube.data.preparing import prepare
from dcube.stages.process.running import params
from dcube.tracking.run import tracked_run


def main() -> None:
    data = params().data
    dataset = prepare(RAW / data.name, data, PREPARED)
    with tracked_run("prepare", {"data": data}, dataset) as tracked:
        tracked.log_text((PREPARED / DATASET).read_text(encoding="utf-8"), DATASET)
