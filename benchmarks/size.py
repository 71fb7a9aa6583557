"""`python -m benchmarks.size FOLDER`: what large sets cost, on files made for it (`docs/how-to/large-data.md`).

Every part runs in a process of its own, so that its peak of memory is its own.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.measure import interleaved
from dcube.config.schema import Data
from dcube.data.layouts.phantom import Patient
from dcube.data.layouts.tables import read_rows
from dcube.data.prepared import PreparedDataset
from dcube.data.preparing import prepare
from dcube.data.splits import plan_splits
from dcube.diffusion.pairs import PairSampler

DATA = Data(name="large", image_size=256, diffusion_image_size=128, identifiers="kept")
KINDS = ("benign", "malignant", "normal")
PER_PATIENT = 4
BATCH = 64


def generate(folder: Path, images: int) -> dict:
    """256² PNG files in class folders with metadata.csv: invented slices, shifted and with noise of their own."""
    slices = [
        np.asarray(Image.fromarray(Patient(n, KINDS[n % 3]).slice(level)).resize((256, 256)))
        for n in range(30)
        for level in range(PER_PATIENT)
    ]
    rows = []
    for number in range(images):
        dice, patient = np.random.default_rng(number), number // PER_PATIENT
        kind = KINDS[patient % 3]
        base = slices[PER_PATIENT * (3 * dice.integers(10) + patient % 3) + number % PER_PATIENT]
        noise = dice.integers(-12, 13, (256, 256), dtype=np.int16)
        pixels = np.roll(base, dice.integers(-40, 41, 2), (0, 1)).astype(np.int16) + noise
        file = f"{kind}/{patient % 100:02d}/{number:06d}.png"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / file, compress_level=1)
        rows.append((file, kind, f"patient{patient:06d}"))
    pd.DataFrame(rows, columns=["file", "label", "patient_id"]).to_csv(folder / "metadata.csv", index=False)
    return {}


def prepare_all(raw: Path, out: Path) -> dict:
    return {"images": len(prepare(raw, DATA, out).manifest)}


def feed(out: Path) -> dict:
    """One epoch of pairs in the order of stage 1, from the memory map; nothing is computed on them."""
    dataset = PreparedDataset.load(out)
    rows = dataset.indices("train")
    images, pairs = dataset.images(128), PairSampler(dataset.labels[rows], seed=0).epoch(0)
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        assert len(images[rows[np.concatenate([batch.first, batch.second])]]) == 2 * len(batch)
    return {"images": 2 * len(pairs)}


def check_rows(folder: Path, rows: int) -> dict:
    """A table of so many rows is read, split and verified."""
    file, patient = folder / "rows.csv", np.arange(rows) // PER_PATIENT
    table = {"file": [f"{i:07d}.png" for i in range(rows)], "label": np.array(KINDS)[patient % 3], "patient": patient}
    pd.DataFrame(table).to_csv(file, index=False)
    start, started = time.perf_counter(), time.process_time()
    read = pd.DataFrame([row for _, row in read_rows(file, ("file", "label"))])
    plan = plan_splits(read.assign(split="", sha256=read["file"], picture=range(rows)), DATA)
    file.unlink()
    took = {"wall": time.perf_counter() - start, "cpu": time.process_time() - started}
    return {"images": len(plan.table), "itself": took}


def against_a_plain_loop(raw: Path, out: Path, images: int = 1000) -> dict:
    """Seconds for so many images: a loop of Pillow and NumPy on one thread, and `prepare`."""
    files = sorted(raw.rglob("*.png"))
    files = files[:: max(len(files) // images, 1)]
    part = out.with_name("part")
    for file in files:
        copy = part / file.relative_to(raw)
        copy.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, copy)

    def plain() -> None:
        arrays = {size: np.empty((len(files), 1, size, size), np.uint8) for size in (256, 128)}
        for i, file in enumerate(files):
            image = Image.open(file).convert("L")
            for size, array in arrays.items():
                array[i, 0] = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
        for size, array in arrays.items():
            np.save(out.with_name(f"plain-{size}.npy"), array)

    timing = interleaved(
        plain, lambda: prepare(part, DATA, out.with_name("part-out")), repeats=3, clock=time.perf_counter
    )
    for path in out.parent.glob("pla*"):
        path.unlink()
    shutil.rmtree(part)
    shutil.rmtree(out.with_name("part-out"))
    return {"images": len(files), "plain": median(timing.plain), "ours": median(timing.ours)}


PARTS: dict[str, Callable[[Path, int, int], dict]] = {
    "generate": lambda folder, images, _: generate(folder / "raw", images),
    "prepare": lambda folder, *_: prepare_all(folder / "raw", folder / "out"),
    "feed": lambda folder, *_: feed(folder / "out"),
    "rows": lambda folder, _, rows: check_rows(folder, rows),
    "ratio": lambda folder, *_: against_a_plain_loop(folder / "raw", folder / "out"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What large sets cost.")
    parser.add_argument("folder", type=Path, help="where to work, with 12 GB to spare; removed at the end")
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(_measured(lambda: PARTS[given.part](given.folder, given.images, given.rows))))
        return
    try:
        _all(given)
    finally:
        shutil.rmtree(given.folder)


def _all(given: argparse.Namespace) -> None:
    for left in ("out", ".out.unfinished"):
        shutil.rmtree(given.folder / left, ignore_errors=True)
    if not (given.folder / "raw").exists():
        _report("generate", _part(given, "generate"))
    killed = _start(given, "prepare")
    notes = given.folder / ".out.unfinished" / "summaries.jsonl"
    while not notes.exists() or notes.read_bytes().count(b"\n") * 1024 < given.images // 2:
        assert killed.poll() is None, "prepare ended before it was killed"
        time.sleep(0.2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    _report("prepare, second half after a kill", _part(given, "prepare"))
    after_kill = PreparedDataset.load(given.folder / "out").fingerprint
    _report("prepare, all", _part(given, "prepare"))
    print("same fingerprint:", after_kill == PreparedDataset.load(given.folder / "out").fingerprint, flush=True)
    for part in ("feed", "rows", "ratio"):
        _report(part, _part(given, part))


def _start(given: argparse.Namespace, part: str) -> subprocess.Popen:
    arguments = [str(given.folder), "--images", str(given.images), "--rows", str(given.rows), "--part", part]
    command = [sys.executable, "-m", "benchmarks.size", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _part(given: argparse.Namespace, part: str) -> dict:
    process = _start(given, part)
    output, _ = process.communicate()
    assert process.returncode == 0, f"{part} failed"
    return json.loads(output)


def _measured(work: Callable[[], dict]) -> dict:
    """Its own result, seconds on the clock and of all cores, and the peak of its memory beyond the imports' in MB."""
    before, start, started = _peak(), time.perf_counter(), time.process_time()
    result = work()
    took = {"wall": time.perf_counter() - start, "cpu": time.process_time() - started}
    return {**took, "imports_mb": before, "peak_mb": _peak(), **result}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _report(name: str, result: dict) -> None:
    print(f"{name}: {json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main()
