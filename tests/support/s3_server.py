"""A real S3 server (rclone) on a free port."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dcube.runtime.ports import free_port

RCLONE = Path(sys.executable).with_name("rclone")


@dataclass
class S3Server:
    """Serves the folders below `folder` as buckets; stopped and started again, it is the same server."""

    folder: Path
    bucket: str = "team"
    key: str = "a-key"
    secret: str = "a-secret"
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / self.bucket).mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{self.port}", str(self.folder)],
            env=os.environ | {"RCLONE_AUTH_KEY": f'"{self.key},{self.secret}"', "RCLONE_CONFIG": os.devnull},
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not self._is_ready():
            assert self._process.poll() is None and time.monotonic() < deadline, "the S3 server does not start"
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find the bucket `team`."""
        return {
            "DCUBE_STORAGE": f"s3://{self.bucket}/project",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def _is_ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False
