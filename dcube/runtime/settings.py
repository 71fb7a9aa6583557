"""All environment variables that this program reads. `docs/reference/settings.md` is generated from this model."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dcube.errors import DcubeError

PREFIX = "DCUBE_"
Port = Annotated[int, Field(ge=1, le=65535)]


# These are no fields, because no module reads them as a setting.
ELSEWHERE = {
    "DCUBE_MLFLOW_HOSTS": "Read by `docker/compose.yaml` alone: further host names by which browsers reach MLflow.",
    "DCUBE_BASE_IMAGE": "Read by `docker/compose.yaml` alone: the Python image that ours are built on.",
    "DCUBE_POSTGRES_IMAGE": "Read by `docker/compose.yaml` alone: the image of PostgreSQL.",
    "DCUBE_SERVER_IMAGE": "Read by `docker/compose.yaml` alone: name of our servers' image. Default: `dcube-server`.",
    "DCUBE_WORKER_IMAGE": "Read by `docker/compose.yaml` alone: name of our workers' image.",
    "DCUBE_WORKER_MEMORY": "Read by `docker/compose.yaml` alone: the memory of a worker's container. Default: `32g`.",
    "DCUBE_PROCESS_MARK": "Marks each group of child processes, to find and end them (`dcube/runtime/reaper.py`).",
    "DCUBE_STACK": "Marks the servers of `make stack`, to find and end them (`flows/stack/supervision.py`).",
}


class Settings(BaseSettings):
    """Settings from environment variables. A name is `DCUBE_` and the field's name; other programs' have an alias."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    storage: str | None = Field(
        None, description="`s3://bucket/prefix` that all machines share: DVC remote and checkpoints."
    )
    checkpoints: Path = Field(
        Path(".dcube/checkpoints"), description="Folder of the checkpoints; several working copies may share one."
    )
    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(60.0, description="Seconds between two checkpoints.")
    keep_checkpoints: bool = Field(False, description="`1` keeps the checkpoints of trainings that have ended.")
    salt_file: Path = Field(
        Path("~/.config/dcube/salt"), description="Salt of the pseudonyms: the same file on every machine."
    )
    scan_cache: Path | None = Field(
        Path(".dcube/scans.sqlite"),
        description="Database of what `dcube data check` found out about images whose files have not changed since.",
    )
    inference_log: Path | None = Field(
        None,
        description="File to which `predict`, its deployment and serving append every prediction, a JSON object a "
        "line. Default: none.",
    )
    max_megapixels: Annotated[float, Field(gt=0, le=178)] = Field(
        64.0,
        description="Megapixels of one image or frame; larger ones are refused by their header, not decoded. "
        "64 take up to 1.3 GB while one is read.",
    )
    max_frames: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Frames or slices in one file; a file with more is refused."
    )
    max_volume_mib: Annotated[int, Field(ge=1)] = Field(
        1024, description="MiB of one unpacked NIfTI volume; larger ones are refused. Two are kept in memory."
    )
    max_archive_files: Annotated[int, Field(ge=1)] = Field(
        1_000_000, description="Files in one archive; an archive with more is refused."
    )
    workspaces: Path | None = Field(
        None, description="Folder of the workspaces of runs. Default: `.dcube/workspaces` of the repository."
    )
    repository: str | None = Field(
        None,
        description="Repository that a worker runs: a checkout, or an address to clone. "
        "Default: where it was deployed from.",
    )
    home: Path = Field(Path("~/.dcube"), description="Folder in which a worker keeps its clone.")
    deployed_from: str | None = Field(
        None, description="Set by `python -m flows.deploy` for `prefect.yaml`: the checkout that is deployed."
    )
    pipeline: str | None = Field(
        None,
        description="Set by the flow and by studies: the name that joins the MLflow runs of one pipeline. Default: "
        "`DVC_EXP_NAME`, else a hash of parameters, data and commit.",
        validation_alias=AliasChoices("DCUBE_PIPELINE", "DVC_EXP_NAME"),
    )
    stages: str | None = Field(
        None,
        description="Set by the flow and by studies: the stages that run, with spaces between. Parameters of others "
        "are not checked. Default: all.",
    )
    stage: str | None = Field(
        None, description="Set by DVC: the stage that runs, as dvc.yaml names it.", validation_alias="DVC_STAGE"
    )
    stage_owner: int | None = Field(
        None,
        description="Set by the flow and by studies: id of the process whose stages one server forks. The server ends "
        "with that process. Default: the process of `dvc repro`.",
    )
    dvc_root: Path | None = Field(
        None,
        description="Set by DVC: the repository that a stage runs for, also if in a copy (`--temp`, `--queue`).",
        validation_alias="DVC_ROOT",
    )
    torchrun: str | None = Field(
        None,
        description="Set by torchrun: id of its run. It shows that torchrun has started this process.",
        validation_alias="TORCHELASTIC_RUN_ID",
    )
    local_rank: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Set by torchrun: which of the processes on this machine this is; it has the GPU of this number.",
        validation_alias="LOCAL_RANK",
    )
    progress_file: Path | None = Field(
        None, description="Set by the flow: file to which a stage appends its progress, a JSON object a line."
    )
    pictures: Path | None = Field(None, description="Set by the flow: folder to which a stage copies its pictures.")
    mlflow_port: Port = Field(5000, description="Port of MLflow, for `make stack` and `docker/compose.yaml`.")
    prefect_port: Port = Field(4200, description="Port of Prefect, for `make stack` and `docker/compose.yaml`.")
    s3_port: Port = Field(9000, description="Port of the S3 server, for `make stack` and `docker/compose.yaml`.")
    artifacts_port: Port = Field(9001, description="Port of the S3 server of MLflow's artifacts, for `make stack`.")
    postgres_port: Port = Field(5433, description="Port of PostgreSQL, for `make stack`.")
    tracking_uri: str | None = Field(
        None,
        description="MLflow server. Default: the database `mlflow.db` in the repository.",
        validation_alias="MLFLOW_TRACKING_URI",
    )
    public_tracking_uri: str | None = Field(
        None, description="MLflow's address in links, as browsers reach it. Default: `MLFLOW_TRACKING_URI`."
    )
    prefect_api_url: str | None = Field(
        None, description="Prefect server. Default: a temporary one.", validation_alias="PREFECT_API_URL"
    )
    s3_endpoint: str = Field(
        "https://s3.amazonaws.com", description="Address of the S3 server.", validation_alias="AWS_ENDPOINT_URL"
    )

    @property
    def stages_to_run(self) -> set[str] | None:
        """Names of the stages that run. None: all."""
        return set(self.stages.split()) if self.stages else None

    @property
    def limits(self) -> dict[str, str]:
        """Limits on the size of inputs, as environment variables for a child process that inherits no others."""
        fields = (name for name in type(self).model_fields if name.startswith("max_"))
        return {variable_of(name): str(getattr(self, name)) for name in fields}

    @classmethod
    def variables(cls, name: str) -> list[str]:
        """Return the environment variables of a field, the one with the highest precedence first."""
        match cls.model_fields[name].validation_alias:
            case AliasChoices(choices=choices):
                return [str(choice) for choice in choices]
            case None:
                return [f"{PREFIX}{name.upper()}"]
            case alias:
                return [str(alias)]


def variable_of(field: str) -> str:
    """Return the environment variable that passes a setting to a child process."""
    return Settings.variables(field)[0]


def read_settings() -> Settings:
    """Read the settings from the present environment.

    Raises:
        DcubeError: if a variable has an invalid value; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise DcubeError("; ".join(map(_explain, error.errors()))) from None


@contextmanager
def library_defaults(values: Mapping[str, str]) -> Iterator[None]:
    """Set defaults of a library's environment variables during the block; the user's own values are kept."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def settings_page() -> str:
    """Return the text of `docs/reference/settings.md`."""
    rows = [
        f"| {_cell(', '.join(f'`{name}`' for name in Settings.variables(field)))} | {_cell(info.description or '')} | "
        f"{'' if info.default is None else f'`{_shown(info.default)}`'} |"
        for field, info in Settings.model_fields.items()
    ]
    return "\n".join(
        [
            "# Environment variables",
            "",
            "Generated from [`dcube/runtime/settings.py`](../../dcube/runtime/settings.py) by",
            "`python -m dcube.runtime.settings > docs/reference/settings.md`.",
            "",
            "boto3, DVC, MLflow and Prefect read variables of their own as well: credentials for example.",
            "",
            "| variable | meaning | default |",
            "| --- | --- | --- |",
            *rows,
            "",
            "Beside the model:",
            "",
            "| variable | meaning |",
            "| --- | --- |",
            *(f"| `{name}` | {_cell(meaning)} |" for name, meaning in ELSEWHERE.items()),
            "",
        ]
    )


def _shown(default: object) -> object:
    return int(default) if isinstance(default, bool) else default


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _explain(error: Any) -> str:
    field = str(error["loc"][0])
    names = Settings.variables(field) if field in Settings.model_fields else [field]
    return f"{names[0]}={error['input']}: {error['msg'][0].lower()}{error['msg'][1:]}"


if __name__ == "__main__":
    print(settings_page(), end="")
