"""Calls of the AWS API whose every failure is a reason in words."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

Clients = Callable[[str, str | None], Any]

_IAM_PREFIX = {"elbv2": "elasticloadbalancing"}  # where it is not boto3's name of the service


def client_factory(*, endpoint: str | None = None) -> Clients:
    """Return a maker of boto3 clients, by service and region, that gives up within seconds."""
    config = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})

    @functools.cache
    def client(service: str, region: str | None) -> Any:
        return boto3.client(service, region_name=region, endpoint_url=endpoint, config=config)

    return client


class UnreadableError(Exception):
    """Why the state cannot be read: which call, what it answered, what to do."""


class Api:
    """Calls whose every failure is a reason in words."""

    def __init__(self, clients: Clients, region: str | None) -> None:
        self._clients = clients
        self._region = region
        self._kept: dict[tuple[str, ...], Any] = {}

    def call_once(self, service: str, operation: str, **arguments: str) -> Any:
        """Make a call whose answer never changes, such as what a revision of a task definition says; it is kept."""
        key = (service, operation, *(text for pair in sorted(arguments.items()) for text in pair))
        if key not in self._kept:
            self._kept[key] = self.call(service, operation, **arguments)
        return self._kept[key]

    def call(self, service: str, operation: str, **arguments: Any) -> Any:
        """Call the API by its own name of the operation, such as `DescribeServices`."""
        action = f"{_IAM_PREFIX.get(service, service)}:{operation}"
        try:
            client = self._clients(service, self._region)
            return getattr(client, _snake(operation))(**arguments)
        except ClientError as error:
            answer = error.response.get("Error", {})
            code = str(answer.get("Code", "no error code"))
            said = str(answer.get("Message", ""))[:200]
            hint = _hint(code, action)
            raise UnreadableError(f"{action} answered {code}: {said}; {hint}") from error
        except BotoCoreError as error:
            said = str(error)[:200]
            hint = "check region, credentials and network"
            raise UnreadableError(f"{action}: {type(error).__name__}: {said}; {hint}") from error


def _hint(code: str, action: str) -> str:
    if "AccessDenied" in code or "Unauthorized" in code:
        return f"allow {action} to the controller's role"
    if any(word in code for word in ("Token", "Credential", "Signature", "UnrecognizedClient")):
        return "renew the credentials"
    if "NotFound" in code:
        return "check pilot:service and the region, or run pulumi up"
    if any(word in code for word in ("Throttl", "TooMany", "Unavailable", "Internal", "Server")):
        return "the next pass tries again"
    return "see the AWS documentation of the call"


def _snake(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
