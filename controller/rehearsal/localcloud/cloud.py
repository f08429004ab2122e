"""
A local AWS: moto on a free port of the loopback, on a virtual clock, with deployments that live.

What is simulated: AWS itself. No container runs, no packet is forwarded, no alarm is evaluated;
an alarm fires when it is told to, and an image is broken when it is said to be.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

import boto3
import moto.cloudwatch.models
import moto.ecs.models
import moto.ssm.models
from botocore.config import Config
from moto.core.botocore_stubber import BotocoreStubber
from moto.moto_api._internal import mock_random
from moto.moto_api._internal.models import moto_api_backend

from controller.rehearsal.localcloud.calls import Aws
from controller.rehearsal.localcloud.ecs_life import EcsLife

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer

_DATED = (moto.ecs.models, moto.ssm.models, moto.cloudwatch.models)
_CREDENTIALS = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
_one = threading.Lock()


class LocalAws:
    """
    A local AWS account, empty when entered and gone when left.

    `now` is its clock: set it to let time pass; whatever AWS dates is dated by it. Deployments
    move only when told: `tick` one step, `settle` to their end. moto keeps one account per
    process, so that only one may be entered at a time.
    """

    def __init__(self, now: datetime, *, region: str = "us-east-1", seed: int = 0) -> None:
        self.now = now
        self.region = region
        self.life = EcsLife(lambda: self.now)
        self._seed = seed
        self._stack = ExitStack()
        self._server: ThreadedMotoServer | None = None

    def __enter__(self) -> Self:
        if not _one.acquire(blocking=False):
            raise RuntimeError("a LocalAws is entered already in this process; leave it first")
        with ExitStack() as stack:
            stack.callback(_one.release)
            # The catalogue of machine images, which nothing here reads, is most of the cost of a reset.
            stack.enter_context(patch.dict(os.environ, MOTO_EC2_LOAD_DEFAULT_AMIS="false"))
            moto_api_backend.reset()
            stack.callback(moto_api_backend.reset)
            mock_random.seed(self._seed)
            stack.enter_context(self.life.installed())
            for module in _DATED:
                stack.enter_context(patch.object(module, "utcnow", self._naive_now))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._server = None
        self._stack.close()

    @property
    def endpoint_url(self) -> str:
        """The address of all services, served from the first use on; any credentials do."""
        if self._server is None:
            from moto.server import ThreadedMotoServer  # a web framework, which few need

            self._stack.enter_context(_quiet("werkzeug"))
            self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
            self._server.start()
            self._stack.callback(self._server.stop)
        host, port = self._server.get_host_and_port()
        return f"http://{host}:{port}"

    def client(self, service: str, region: str | None = None) -> Any:
        """Return a boto3 client that reaches this AWS without a network."""
        return _client(service, region or self.region)

    def aws(self, region: str | None = None) -> Aws:
        """Return the API for the resource types."""
        return Aws(lambda service: self.client(service, region))

    def network(self) -> dict[str, Any]:
        """Return the account's default network as `pilot:network` of a stack file wants it."""
        ec2 = self.client("ec2")
        subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])
        ids = sorted(subnet["SubnetId"] for subnet in subnets["Subnets"])
        vpc = subnets["Subnets"][0]["VpcId"]
        return {"vpcId": vpc, "publicSubnetIds": ids[:2], "privateSubnetIds": ids[:2]}

    def certificate(self, domain: str) -> str:
        """Return the ARN of a certificate for *domain*, as `pilot:ingress` of a stack file wants it."""
        return str(self.client("acm").request_certificate(DomainName=domain)["CertificateArn"])

    # ------------------------------------------------------------ what happens to it

    def tick(self) -> bool:
        """Take every deployment one step further; False when none was in progress."""
        return self.life.tick()

    def settle(self) -> None:
        """Let every deployment come to its end, all at the present time."""
        for _ in range(50):
            if not self.tick():
                return

    def break_image(self, image: str) -> None:
        """Let no task of *image* start from now on."""
        self.life.bad_images.add(image)

    def set_alarm(self, name: str, *, firing: bool) -> None:
        """Put an alarm into ALARM or OK."""
        state = "ALARM" if firing else "OK"
        self.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue=state, StateReason="set by the rehearsal")

    def _naive_now(self) -> datetime:
        return self.now.replace(tzinfo=None)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger from telling every request."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@functools.cache
def _client(service: str, region: str) -> Any:
    """Make a client whose requests are answered by moto in this process; slow, so once only."""
    client = boto3.client(
        service,
        region_name=region,
        config=Config(retries={"total_max_attempts": 1}),
        **_CREDENTIALS,
    )
    stubber = BotocoreStubber()
    stubber.enabled = True

    def answer(request: Any, **kwargs: Any) -> Any:
        response = stubber(request=request, **kwargs)
        if response is None:  # sending it on would reach the real AWS
            raise RuntimeError(f"{request.method} {request.url} is not answered by the local AWS")
        return response

    client.meta.events.register_first("before-send", answer)
    return client
