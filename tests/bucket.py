"""A server on this machine that speaks S3, with buckets for tests."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "ours", "AWS_SECRET_ACCESS_KEY": "ours-too", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Start a server; give its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def make_bucket(address: str) -> str:
    """Make an empty bucket; return its name."""
    import boto3

    name = f"bucket-{uuid.uuid4().hex[:12]}"
    boto3.client(
        "s3", endpoint_url=address, region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"], aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    ).create_bucket(Bucket=name)  # fmt: skip
    return name
