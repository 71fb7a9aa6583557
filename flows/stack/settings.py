"""Where the platform stands: its folder, its ports, its secrets, and what a client needs to reach it."""

import os
import secrets
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from dcube.artifacts.schemas.artifact import Artifact
from dcube.errors import DcubeError
from dcube.runtime.settings import read_settings, variable_of

HOST = "127.0.0.1"  # the platform of one machine: nobody else reaches it
ADMINISTRATOR = "admin"
BUCKET = "dcube"  # of DVC, the checkpoints and the images to predict
ARTIFACTS_BUCKET = "mlflow"  # of MLflow's server alone, in an S3 server of its own with a key of its own
REGION = "us-east-1"  # S3 clients sign with one; servers other than Amazon's take any


@dataclass(frozen=True)
class Ports:
    mlflow: int
    prefect: int
    s3: int
    artifacts: int
    postgres: int

    @classmethod
    def configured(cls) -> "Ports":
        """What the environment says."""
        settings = read_settings()
        return cls(**{name: getattr(settings, f"{name}_port") for name in cls.__dataclass_fields__})


def _secret() -> str:
    return secrets.token_hex(20)  # letters and digits alone: the same in a shell, an address and an INI file


class Secrets(Artifact):
    """Every password of the platform, made once: `credentials.json`."""

    remedy: ClassVar[str] = "restore it, or remove the whole folder that it stands in"

    mlflow_database: str = Field(default_factory=_secret)
    prefect_database: str = Field(default_factory=_secret)
    s3_access_key: str = Field(default_factory=_secret)
    s3_secret_key: str = Field(default_factory=_secret)
    artifacts_access_key: str = Field(default_factory=_secret)
    artifacts_secret_key: str = Field(default_factory=_secret)
    mlflow_password: str = Field(default_factory=_secret)
    mlflow_session_key: str = Field(default_factory=_secret)
    prefect_password: str = Field(default_factory=_secret)


@dataclass(frozen=True)
class Stack:
    """One platform: everything that it writes is below `folder`."""

    folder: Path
    ports: Ports
    secrets: Secrets = field(repr=False)

    @classmethod
    def at(cls, folder: Path, ports: Ports | None = None) -> "Stack":
        """The platform in `folder`, with new secrets where there is none yet."""
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        return cls(folder, ports or Ports.configured(), _secrets_of(folder))

    @property
    def mlflow_address(self) -> str:
        return f"http://{HOST}:{self.ports.mlflow}"

    @property
    def prefect_address(self) -> str:
        return f"http://{HOST}:{self.ports.prefect}"

    @property
    def storage(self) -> dict[str, str]:
        """Reaching the S3 server of everybody's data, in the names that boto3 and DVC know."""
        return _storage(self.ports.s3, self.secrets.s3_access_key, self.secrets.s3_secret_key)

    @property
    def artifact_storage(self) -> dict[str, str]:
        """Reaching the S3 server of MLflow's artifacts, for MLflow's server alone."""
        return _storage(self.ports.artifacts, self.secrets.artifacts_access_key, self.secrets.artifacts_secret_key)

    @property
    def client(self) -> dict[str, str]:
        """What a worker, or a person in another terminal, needs in the environment."""
        return {
            "PREFECT_API_URL": f"{self.prefect_address}/api",
            "PREFECT_API_AUTH_STRING": f"{ADMINISTRATOR}:{self.secrets.prefect_password}",
            "MLFLOW_TRACKING_URI": self.mlflow_address,
            "MLFLOW_TRACKING_USERNAME": ADMINISTRATOR,
            "MLFLOW_TRACKING_PASSWORD": self.secrets.mlflow_password,
            variable_of("storage"): f"s3://{BUCKET}",
            **self.storage,
        }

    def write_environment(self) -> Path:
        """A file to `source`, for this user's eyes only."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in self.client.items()]
        return write_private(self.folder / "env", "".join(lines))

    def database(self, name: str, driver: str, role: str | None = None) -> str:
        """The address of a database, with the password of its role."""
        role = role or name
        password = getattr(self.secrets, f"{role}_database")
        return f"postgresql+{driver}://{role}:{password}@{HOST}:{self.ports.postgres}/{name}"


def _storage(port: int, access_key: str, secret_key: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": REGION,
    }


def _secrets_of(folder: Path) -> Secrets:
    file = folder / "credentials.json"
    if file.exists():
        known = Secrets.load(file)
        write_private(file, known.model_dump_json(indent=2) + "\n")  # with those that an older version did not have
        return known
    if (folder / "postgres").exists():
        raise DcubeError(
            f"{file} is missing, and the existing server data need it: restore it, or remove the whole folder {folder}"
        )
    made = Secrets()
    write_private(file, made.model_dump_json(indent=2) + "\n")
    return made


def log_file(folder: Path, name: str) -> Path:
    return folder / "logs" / f"{name}.log"


def write_private(path: Path, text: str) -> Path:
    """Write the file whole or not at all, readable by its owner alone at every instant."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
    return path
