"""A real S3 API for tests: one server a session, empty for each test.

Belongs here: the server and how a test reaches it. A test file that needs the fixtures names this module in its
`pytest_plugins`.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote_plus
from urllib.request import Request, urlopen

import pytest

from credit_assets_tests.support.ports import free_port


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    pytest.importorskip("s3fs", reason="the s3 extra is not installed")
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    # S3 judges If-None-Match and writes in one step; this server does it in two, in as many threads as it has callers.
    one_step, put = threading.Lock(), S3Response.put_object

    def put_object(self: Any) -> Any:
        with one_step:
            return put(self)

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Response, "put_object", put_object)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def bucket(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in an empty bucket, reached as a lender's would be: through the AWS environment."""
    import boto3
    import s3fs

    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_address,
    }.items():
        monkeypatch.setenv(name, value)
    # fsspec keeps file systems, and what they have listed, by arguments that the address is none of.
    s3fs.S3FileSystem.clear_instance_cache()
    _empty(s3_address)
    boto3.client("s3").create_bucket(Bucket="lender")
    return "s3://lender/credit"


def _empty(address: str) -> None:
    """What the servers of this process hold goes. They fail at it while a request of the test before is answered."""
    for tries_left in reversed(range(100)):
        try:
            urlopen(Request(f"{address}/moto-api/reset", method="POST")).close()
            return
        except HTTPError as error:
            if error.code != 500 or not tries_left:
                raise
            time.sleep(0.1)


class Stopping:
    """A server of the test's own that can be stopped and started again, with all that it holds; or be there and say
    nothing meanwhile, as one that is suspended.
    """

    def __init__(self) -> None:
        self.port, self.awake = free_port(), threading.Event()
        self.awake.set()
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()

    def stop(self) -> None:
        self.server.stop()
        assert self.server._server is not None
        # Else the system goes on taking connections.
        self.server._server.server_close()

    @contextmanager
    def after(self, questions: int, then: Callable[[], None]) -> Iterator[None]:
        """After so many questions `then` is called once; what is asked while `awake` is not set waits for it."""
        from moto.s3.responses import S3Response

        begun, left, once = S3Response.setup_class, [questions], threading.Lock()

        def counted(response: Any, *more: Any, **named: Any) -> None:
            with once:
                left[0] -= 1
                if left[0] == 0:
                    threading.Thread(target=then, daemon=True).start()
            self.awake.wait()
            begun(response, *more, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(S3Response, "setup_class", counted)
            yield
            self.awake.set()


@contextmanager
def asked_of_s3() -> Iterator[list[tuple[str, str]]]:
    """What the server is asked for meanwhile, by any process: by whom (the access key) and the path with its query."""
    from moto.s3.responses import S3Response

    asked: list[tuple[str, str]] = []
    begun = S3Response.setup_class

    def noted(self: Any, request: Any, *more: Any, **named: Any) -> None:
        key = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", ""))
        asked.append((key.group(1) if key else "", unquote_plus(request.url)))
        if source := request.headers.get("x-amz-copy-source"):
            asked.append((key.group(1) if key else "", unquote_plus(source)))
        begun(self, request, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Response, "setup_class", noted)
        yield asked


def objects_of(uri: str) -> dict[str, tuple[str, str]]:
    """Every object below a prefix by its content and the time of its writing."""
    import boto3

    name, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=f"{prefix.rstrip('/')}/")
    found = [one for page in pages for one in page.get("Contents", [])]
    return {one["Key"]: (one["ETag"], one["LastModified"].isoformat()) for one in found}
