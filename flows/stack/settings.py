"""Settings of the platform: its folder, ports and secrets, and the environment of its clients."""

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

HOST = "127.0.0.1"  # other machines cannot reach this platform
ADMINISTRATOR = "admin"
ACCOUNT = "dcube"  # in MLflow, of the worker and of the file `env`; it administers nobody
BUCKET = "dcube"  # for DVC, checkpoints and images to predict on
ARTIFACTS_BUCKET = "mlflow"  # only for MLflow's server, on a separate S3 server with a separate key
REGION = "us-east-1"  # S3 clients need a region to sign requests; servers other than Amazon's accept any


@dataclass(frozen=True)
class Ports:
    mlflow: int
    prefect: int
    s3: int
    artifacts: int
    postgres: int

    @classmethod
    def configured(cls) -> "Ports":
        """Return the ports of the environment's settings."""
        settings = read_settings()
        return cls(**{name: getattr(settings, f"{name}_port") for name in cls.__dataclass_fields__})


def _secret() -> str:
    return secrets.token_hex(20)  # letters and digits need no quoting in a shell, an address or an INI file


class Secrets(Artifact):
    """All passwords of the platform, generated once and saved as `credentials.json`."""

    remedy: ClassVar[str] = "restore it, or remove the whole folder that it stands in"

    mlflow_database: str = Field(default_factory=_secret)
    prefect_database: str = Field(default_factory=_secret)
    s3_access_key: str = Field(default_factory=_secret)
    s3_secret_key: str = Field(default_factory=_secret)
    artifacts_access_key: str = Field(default_factory=_secret)
    artifacts_secret_key: str = Field(default_factory=_secret)
    mlflow_password: str = Field(default_factory=_secret)
    mlflow_account_password: str = Field(default_factory=_secret)
    mlflow_session_key: str = Field(default_factory=_secret)
    prefect_password: str = Field(default_factory=_secret)


@dataclass(frozen=True)
class Stack:
    """One platform, which writes only below `folder`."""

    folder: Path
    ports: Ports
    secrets: Secrets = field(repr=False)

    @classmethod
    def at(cls, folder: Path, ports: Ports | None = None) -> "Stack":
        """Return the platform in `folder`, with new secrets if there are none yet."""
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
        """Variables of boto3 and DVC for the S3 server with the shared data."""
        return _storage(self.ports.s3, self.secrets.s3_access_key, self.secrets.s3_secret_key)

    @property
    def artifact_storage(self) -> dict[str, str]:
        """Variables for the S3 server with MLflow's artifacts, which only MLflow's server may get."""
        return _storage(self.ports.artifacts, self.secrets.artifacts_access_key, self.secrets.artifacts_secret_key)

    @property
    def client(self) -> dict[str, str]:
        """Environment variables for a worker, or for a user in another terminal."""
        return {
            "PREFECT_API_URL": f"{self.prefect_address}/api",
            "PREFECT_API_AUTH_STRING": f"{ADMINISTRATOR}:{self.secrets.prefect_password}",
            "MLFLOW_TRACKING_URI": self.mlflow_address,
            "MLFLOW_TRACKING_USERNAME": ACCOUNT,
            "MLFLOW_TRACKING_PASSWORD": self.secrets.mlflow_account_password,
            variable_of("storage"): f"s3://{BUCKET}",
            **self.storage,
        }

    def write_environment(self) -> Path:
        """Write a file to `source`, which only this user can read, and return its path."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in self.client.items()]
        return write_private(self.folder / "env", "".join(lines))

    def database(self, name: str, driver: str, role: str | None = None) -> str:
        """Return the address of a database, including the password of its role."""
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
        write_private(file, known.model_dump_json(indent=2) + "\n")  # add secrets that an older version did not have
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
    """Write the file atomically; only its owner can read it at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
    return path
