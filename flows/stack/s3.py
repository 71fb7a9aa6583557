"""An S3 server over a folder: rclone."""

import sys
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from flows.stack.server import Server
from flows.stack.settings import BUCKET, HOST, Stack


def s3(stack: Stack) -> Server:
    """The server of `stack`; objects are files below its folder `s3`, buckets are the folders in there."""
    objects = stack.folder / "s3"
    rclone = str(Path(sys.executable).with_name("rclone"))
    return Server(
        name="S3",
        folder=stack.folder,
        command=[rclone, "serve", "s3", "--addr", f"{HOST}:{stack.ports.s3}", str(objects)],
        environment={
            "RCLONE_AUTH_KEY": f'"{stack.secrets.s3_access_key},{stack.secrets.s3_secret_key}"',
            "RCLONE_CONFIG": "",  # nobody's own remotes
        },
        healthy=lambda: answers(stack),
        log=stack.log("s3"),
        prepare=lambda: (objects / BUCKET).mkdir(parents=True, exist_ok=True),
        port=stack.ports.s3,
        option="--s3-port",
    )


def answers(stack: Stack) -> bool:
    """Whether the bucket is there for who has the credentials."""
    client = boto3.client(
        "s3",
        endpoint_url=stack.storage["AWS_ENDPOINT_URL"],
        aws_access_key_id=stack.secrets.s3_access_key,
        aws_secret_access_key=stack.secrets.s3_secret_key,
        region_name=stack.storage["AWS_DEFAULT_REGION"],
        config=Config(connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 1}),
    )
    try:
        client.head_bucket(Bucket=BUCKET)
    except (BotoCoreError, ClientError):
        return False
    return True
