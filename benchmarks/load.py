"""`python -m benchmarks.load`: submit runs to a platform for an hour while workers die and servers are away.

Needs a running platform (`make stack`, then `source .dcube/stack/env`). Four people submit runs, each the next one when
the last has ended, every fourth of all stages. A second worker is started here. Workers are killed at random moments,
and each server is stopped for a minute once. Then everything that was submitted is waited for and counted.
"""

import argparse
import itertools
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from uuid import UUID

import httpx
import psutil
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from benchmarks.kills import STACK, VICTIMS, WAIT, flow_run, outputs_of, processes, stages
from dcube.repository.commands import repository_around
from dcube.runtime.processes import process_group
from dcube.runtime.retries import RetryPolicy
from dcube.tracking.tags import PIPELINE
from flows.prefect_api import has_ended

DEPLOYMENT = "pipeline/phantom"
PEOPLE = 4
ALL_STAGES_EVERY = 4
SHORT = [
    "data.image_size=32", "data.diffusion_image_size=16", "diffusion.epochs=2", "diffusion.fid_every=1",
    "classifier.epochs=1", "baseline.epochs=1",
]  # fmt: skip
FEW_STAGES = ["evaluate@imagenet_probe"]
AWAY = ("mlflow", "prefect", "s3")  # programs of supervisord
AWAY_SECONDS = 60
UNTIL_ENDED = RetryPolicy(timeout=7200, first_pause=5, longest_pause=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="for which runs are submitted")
    parser.add_argument("--kill-every", type=float, default=4, help="minutes between two killed workers, in the mean")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.monotonic()
    until, runs = began + 60 * arguments.minutes, list[UUID]()
    numbers = itertools.count()
    with second_worker(), ThreadPoolExecutor(PEOPLE) as people:
        submitting = [people.submit(submit_until, until, numbers, runs) for _ in range(PEOPLE)]
        killed = disturb(until, random.Random(arguments.seed), arguments.kill_every)
        for person in submitting:
            person.result()
        print(f"all runs have ended after {(time.monotonic() - began) / 60:.0f} minutes", flush=True)
        print(table([flow_run(run_id) for run_id in runs], killed))


# --- people


def submit_until(until: float, numbers: Iterator[int], runs: list[UUID]) -> None:
    """Submit runs, each with a seed of its own, one after another."""
    submit = WAIT.retrying(httpx.HTTPError)
    while time.monotonic() < until:
        run_id = submit(submitted, next(numbers))
        runs.append(run_id)
        UNTIL_ENDED.wait_until(lambda run_id=run_id: has_ended(flow_run(run_id)))


def submitted(number: int) -> UUID:
    """Return the run of this number. The key makes a request that is repeated the same run."""
    targets = FEW_STAGES if number % ALL_STAGES_EVERY else []
    parameters = {"settings": [*SHORT, f"classifier.seed={number}", f"baseline.seed={number}"], "targets": targets}
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(DEPLOYMENT)
        key = f"load-{os.getpid()}-{number}"
        return client.create_flow_run_from_deployment(found.id, parameters=parameters, idempotency_key=key).id


# --- disturbances


def disturb(until: float, chance: random.Random, kill_every: float) -> int:
    """Kill workers at random moments, stop each server once at equal distances, and return the number of kills."""
    began, killed = time.monotonic(), 0
    stops = [(began + (until - began) * (number + 1) / (len(AWAY) + 1), name) for number, name in enumerate(AWAY)]
    next_kill = began + 60 * chance.expovariate(1 / kill_every)
    while (now := time.monotonic()) < until:
        if stops and now >= stops[0][0]:
            away(stops.pop(0)[1])
        if now >= next_kill:
            killed += kill_a_worker(chance)
            next_kill = now + 60 * chance.expovariate(1 / kill_every)
        time.sleep(1)
    return killed


def away(server: str) -> None:
    supervisor = ["supervisorctl", "-c", f"{STACK}/supervisord.conf"]
    say(f"{server} is away for {AWAY_SECONDS} s")
    subprocess.run([*supervisor, "stop", server], check=True, capture_output=True)
    time.sleep(AWAY_SECONDS)
    subprocess.run([*supervisor, "start", server], check=True, capture_output=True)
    say(f"{server} is back")


def kill_a_worker(chance: random.Random) -> int:
    workers = processes("PREFECT_API_URL", os.environ["PREFECT_API_URL"], VICTIMS["worker"])
    if not workers:
        return 0
    with suppress(psutil.NoSuchProcess):
        worker = chance.choice(workers)
        say(f"worker {worker.pid} is killed")
        worker.kill()
        return 1
    return 0


@contextmanager
def second_worker() -> Iterator[None]:
    """Run another worker, and start it again when it ends, as a service manager does."""
    options = ["--pool", "gpu", "--type", "process", "--limit", "1", "--name", "second"]
    command = [sys.executable, "-m", "flows.worker", "start", *options]
    stack = repository_around(Path.cwd()) / STACK
    environment = os.environ | {"PREFECT_HOME": str(stack / "second-worker")}
    ended = Event()

    def keep_alive() -> None:
        while not ended.is_set():
            with process_group(command, environment, stdout=log, stderr=subprocess.STDOUT) as worker:
                while worker.poll() is None and not ended.wait(1):
                    pass

    with (stack / "logs/second-worker.log").open("w") as log, ThreadPoolExecutor(1) as keeper:
        kept = keeper.submit(keep_alive)
        yield
        ended.set()
        kept.result()


# --- results


def table(runs: list[FlowRun], killed: int) -> str:
    states = Counter(run.state_name for run in runs)
    completed = [run for run in runs if run.state_name == "Completed"]
    rows = [
        ("runs submitted", len(runs)),
        *(("ended: " + str(name), count) for name, count in states.most_common()),
        ("not ended", sum(not has_ended(run) for run in runs)),
        ("completed without a saved result", sum(not outputs_of(run) for run in completed)),
        ("begun more than once", sum(run.run_count > 1 for run in runs)),
        ("attempts in addition", sum(run.run_count - 1 for run in runs)),
        ("workers killed", killed),
        ("stages of ended runs still at work", sum(len(stages(run.id)) for run in runs)),
        ("their runs in MLflow that did not end", sum(unended_in_mlflow(run) for run in runs)),
    ]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def unended_in_mlflow(run: FlowRun) -> int:
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    mine = f"tags.`{PIPELINE}` = '{run.id}' and attributes.status = 'RUNNING'"
    return len(client.search_runs(experiments, mine))


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    main()
