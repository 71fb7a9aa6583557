"""`python -m benchmarks.kills`: kill a platform's processes at random moments and see whether runs end right.

Needs a running platform (`make stack`, then `source .dcube/stack/env`). Every run of the deployment starts from
nothing known: neither run cache nor checkpoints, here or in the bucket. The first is left in peace; a disturbed one
has ended right if every output of every stage has the same hash, without anybody's help.
"""

import argparse
import os
import random
import shutil
import statistics
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from dcube.artifacts.dvc_files import parse_lock
from dcube.artifacts.layout import LOCK
from dcube.errors import DcubeError
from dcube.repository.commands import git, repository_around
from dcube.runtime.retries import RetryPolicy
from dcube.runtime.s3 import Storage
from flows.prefect_api import has_ended
from flows.stack.supervision import STACK_VARIABLE

VICTIMS = {
    "stage": ["dcube.stages "],
    "flow": ["prefect.engine", "prefect.flow_engine", "flow-run execute"],
    "worker": ["flows.worker start"],
}
ALL = "all three"
SERVERS = {  # of `make stack`, which starts each again
    "prefect": ["prefect server"],
    "mlflow": ["mlflow server", "mlflow.server"],
    "postgres": ["bin/postgres", "postgres:"],
    "s3": ["rclone serve s3"],
}
STACK = ".dcube/stack"
WAIT = RetryPolicy(timeout=1800, first_pause=0.5, longest_pause=0.5)
REGISTERED = "outputs/registered"  # numbers of versions, other ones every time


@dataclass
class Kill:
    victim: str
    stage: str
    seconds: float | None  # until a stage worked again, after a server's death: at all


@dataclass
class Run:
    state: str
    seconds: float
    outputs: dict[str, str]
    kills: list[Kill] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deployment", default="pipeline/phantom")
    parser.add_argument("--settings", nargs="*", default=[], help="group.key=value, to make a run short")
    parser.add_argument("--runs", type=int, default=6, help="disturbed runs")
    parser.add_argument("--kills", type=int, default=5, help="in each of them")
    parser.add_argument("--servers", action="store_true", help="kill servers instead of what works on a run")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kinds = tuple(SERVERS) if arguments.servers else (*VICTIMS, ALL)
    chance = random.Random(arguments.seed)
    undisturbed = one_run(arguments.deployment, arguments.settings, [], chance)
    print(f"undisturbed: {undisturbed.state} after {undisturbed.seconds:.0f} s", flush=True)
    runs = []
    victims = [*kinds] * arguments.runs * arguments.kills
    for number in range(arguments.runs):
        mine = victims[number * arguments.kills : (number + 1) * arguments.kills]
        runs.append(one_run(arguments.deployment, arguments.settings, mine, chance))
        print(described(runs[-1], undisturbed), flush=True)
    print(table(runs, undisturbed, kinds))


def one_run(deployment: str, settings: list[str], victims: list[str], chance: random.Random) -> Run:
    """Start a run that knows nothing, kill `victims` one after the other, and wait for its end."""
    forget()
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
        run_id = client.create_flow_run_from_deployment(found.id, parameters={"settings": settings}).id
    began, kills = time.monotonic(), []
    for victim in victims:
        if wait_for_work(run_id) is None:
            break
        time.sleep(chance.uniform(0, 15))
        stage = working_stage(run_id)
        if stage is None:
            continue
        before = {process.pid for process in stages(run_id)}
        kill(victim, run_id)
        kills.append(Kill(victim, stage, wait_for_work(run_id, () if victim in SERVERS else before)))
    ended = wait_for_end(run_id)
    return Run(ended.state_name or "?", time.monotonic() - began, outputs_of(ended), kills)


def processes(variable: str, value: str, words: list[str]) -> list[psutil.Process]:
    """Processes with this value in their environment and one of the words in their command."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            ours = process.environ().get(variable) == value and process.pid != os.getpid()
            if ours and any(word in " ".join(process.cmdline()) for word in words):
                found.append(process)
    return found


def stages(run_id: UUID) -> list[psutil.Process]:
    """The processes of the run's stages, wherever their parents have gone."""
    return processes("DCUBE_PIPELINE", str(run_id), VICTIMS["stage"])


def kill(victim: str, run_id: UUID) -> None:
    for process in [found for name in (VICTIMS if victim == ALL else [victim]) for found in called(name, run_id)]:
        with suppress(psutil.Error):
            process.kill()


def called(name: str, run_id: UUID) -> list[psutil.Process]:
    if name in SERVERS:
        return processes(STACK_VARIABLE, str(repository_around(Path.cwd()) / STACK), SERVERS[name])
    if name == "stage":
        return stages(run_id)
    return processes("PREFECT_API_URL", os.environ["PREFECT_API_URL"], VICTIMS[name])


def working_stage(run_id: UUID) -> str | None:
    for process in stages(run_id):
        with suppress(psutil.Error):
            return process.environ().get("DVC_STAGE")
    return None


def wait_for_work(run_id: UUID, before: Collection[int] = ()) -> float | None:
    """Seconds until a stage of the run works, in other processes than `before`; None if the run ends first."""
    began = time.monotonic()
    working: list[int] = []

    def works_or_has_ended() -> bool:
        working[:] = [process.pid for process in stages(run_id) if process.pid not in before]
        return bool(working) or has_ended(flow_run(run_id))

    if not WAIT.wait_until(works_or_has_ended):
        raise DcubeError(f"no stage of {run_id} works for {WAIT.timeout:.0f} s: look at the worker's log")
    return time.monotonic() - began if working else None


def wait_for_end(run_id: UUID) -> FlowRun:
    WAIT.wait_until(lambda: has_ended(flow_run(run_id)))
    return flow_run(run_id)


def flow_run(run_id: UUID) -> FlowRun:
    """As the server has it; a server that was just killed is waited for."""

    def read() -> FlowRun:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run_id)

    return WAIT.retrying(httpx.HTTPError)(read)


def outputs_of(run: FlowRun) -> dict[str, str]:
    """Path → hash, from the experiment that the run has saved."""
    repository = repository_around(Path.cwd())
    saved = git(repository, "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    mine = [reference for reference in saved if reference.endswith(str(run.id)[:8])]
    if not mine:
        return {}
    outputs = parse_lock(git(repository, "show", f"{mine[0]}:{LOCK}"), mine[0]).outputs
    return {path: str(digest) for path, digest in outputs.items() if path != REGISTERED}


def forget() -> None:
    """Remove every run cache and checkpoint: all is to be computed again."""
    repository, storage = repository_around(Path.cwd()), Storage.configured()
    for known in (".dvc/cache/runs", ".dcube/checkpoints"):
        shutil.rmtree(repository / known, ignore_errors=True)
    if storage:
        client = storage.client()
        for place in ("dvc/runs/", "checkpoints/"):
            for page in client.get_paginator("list_objects_v2").paginate(
                Bucket=storage.bucket, Prefix=storage.key(place)
            ):
                for found in page.get("Contents", []):
                    client.delete_object(Bucket=storage.bucket, Key=found["Key"])


def right(run: Run, undisturbed: Run) -> bool:
    return run.state == "Completed" and run.outputs == undisturbed.outputs != {}


def described(run: Run, undisturbed: Run) -> str:
    kills = ", ".join(f"{kill.victim} in {kill.stage}" for kill in run.kills)
    result = "the same" if right(run, undisturbed) else f"NOT the same: {differences(run, undisturbed)}"
    return f"{run.state} after {run.seconds:.0f} s, {result}; killed: {kills}"


def differences(run: Run, undisturbed: Run) -> list[str]:
    paths = run.outputs.keys() | undisturbed.outputs.keys()
    return sorted(path for path in paths if run.outputs.get(path) != undisturbed.outputs.get(path))


def table(runs: list[Run], undisturbed: Run, kinds: Sequence[str]) -> str:
    rows = [
        "| killed | times | ended right | seconds until work went on: median (longest) |",
        "| --- | --- | --- | --- |",
    ]
    for victim in kinds:
        hit = [(kill, run) for run in runs for kill in run.kills if kill.victim == victim]
        seconds = [kill.seconds for kill, _ in hit if kill.seconds is not None]
        fine = sum(right(run, undisturbed) for _, run in hit)
        pause = f"{statistics.median(seconds):.0f} ({max(seconds):.0f})" if seconds else "–"
        rows.append(f"| {victim} | {len(hit)} | {fine} | {pause} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
