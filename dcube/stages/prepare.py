"""Stage `prepare`: raw images → arrays, manifest and splits."""

from dcube.data.preparing import prepare
from dcube.stages import params, run
from dcube.stages.paths import PREPARED, RAW
from dcube.tracking import tracked_run


def main() -> None:
    data = params().data
    dataset = prepare(RAW / data.name, data, PREPARED)
    with tracked_run("prepare", {"data": data}, dataset) as tracked:
        tracked.log_dict(dataset.info, "dataset.json")


if __name__ == "__main__":
    run(main)
