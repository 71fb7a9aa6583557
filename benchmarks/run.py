"""`python -m benchmarks.run [NAME …]`: time the levers on one thread and print the table."""

import argparse
import os
import platform
from datetime import date
from pathlib import Path

import diffusers
import torch

from benchmarks import early_stop, gaussianity, pairs, predicting, reading, sampling, stage1, stage2, stage_start
from benchmarks.measure import HEADER, Setting
from dcube.errors import one_line_errors

LEVERS = {
    "reading": reading.benchmark,
    "predicting": predicting.benchmark,
    "pairs": pairs.benchmark,
    "sampling": sampling.benchmark,
    "gaussianity": gaussianity.benchmark,
    "stage1": stage1.benchmark,
    "stage2": stage2.benchmark,
    "early_stop": early_stop.benchmark,
    "stage_start": stage_start.benchmark,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time every lever against its plain formulation.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(LEVERS)}; all without one")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 128], help="image sizes in pixels")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of timings whose median counts")
    parser.add_argument("--prepared", type=Path, default=Path("outputs/prepared"), help="data set of the weights")
    parser.add_argument("--weights", type=Path, default=Path("outputs/diffusion"), help="for the Fréchet distances")
    parser.add_argument("--samples", type=int, default=256, help="images for the Fréchet distances")
    parser.add_argument("--output", type=Path, help="also write the table into this Markdown file")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(LEVERS):
        parser.error(f"no lever {', '.join(sorted(unknown))}: choose from {', '.join(LEVERS)}")
    torch.set_num_threads(1)
    setting = Setting(
        tuple(arguments.sizes), arguments.repeats, arguments.prepared, arguments.weights, arguments.samples
    )
    rows = [HEADER]
    for name in arguments.names or LEVERS:
        for result in LEVERS[name](setting):
            rows.append(result.row())
            print(result.row(), flush=True)
    page = "\n".join([_introduction(setting), *rows]) + "\n"
    if arguments.output:
        arguments.output.write_text(page, encoding="utf-8")
    else:
        print("\n" + page)


def _introduction(setting: Setting) -> str:
    return f"""# Benchmarks

Each optimisation is compared with the plain formulation in `benchmarks/`, both in one run: CPU seconds of one thread
(wall-clock seconds where images are read, by as many threads as there are cores), medians of {setting.repeats} pairs,
and the smallest and largest ratio of a pair. Higher is better unless a row says otherwise.

Machine: {_processor()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, torch {torch.__version__}, \
diffusers {diffusers.__version__}; {date.today()}. Run again: `python -m benchmarks.run`.
"""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    with one_line_errors():
        main()
