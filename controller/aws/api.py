"""Calls of the AWS API whose every failure is a reason in words."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import boto3
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

Clients = Callable[[str, str | None], Any]

_IAM_PREFIX = {"elbv2": "elasticloadbalancing"}  # where it is not boto3's name of the service


class Cause(StrEnum):
    """Why a call failed, and so who acts next; the value is what to do."""

    PERMISSION = "allow {action} to the controller's role"
    CREDENTIALS = "renew the credentials"
    MISSING = "check pilot:service and the region, or run pulumi up"
    LATER = "the next pass tries again"
    NETWORK = "check region, credentials and network"
    OTHER = "see the AWS documentation of the call"


_CODES = {
    Cause.PERMISSION: ("AccessDenied", "Unauthorized"),
    Cause.CREDENTIALS: ("Token", "Credential", "Signature", "UnrecognizedClient", "AuthFailure", "RequestExpired"),
    Cause.MISSING: ("NotFound",),
    Cause.LATER: ("Throttl", "TooMany", "Unavailable", "Internal", "Server", "RequestTimeout", "SlowDown"),
}
_NO_CREDENTIALS = (
    exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError,
    exceptions.SSOError, exceptions.TokenRetrievalError, exceptions.ProfileNotFound,
)  # fmt: skip
_NO_NETWORK = (exceptions.HTTPClientError, exceptions.ConnectionError)


def client_factory(*, endpoint: str | None = None) -> Clients:
    """Return a maker of boto3 clients, by service and region, that gives up within seconds."""
    config = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})

    @functools.cache
    def client(service: str, region: str | None) -> Any:
        return boto3.client(service, region_name=region, endpoint_url=endpoint, config=config)

    return client


class UnreadableError(Exception):
    """Why the state cannot be read, or changed: which call, what it answered, what to do."""

    def __init__(self, message: str, cause: Cause = Cause.OTHER) -> None:
        super().__init__(message)
        self.cause = cause


class Api:
    """Calls whose every failure is a reason in words."""

    def __init__(self, clients: Clients, region: str | None) -> None:
        self._clients = clients
        self._region = region
        self._kept: dict[tuple[str, ...], Any] = {}

    def call_once(self, service: str, operation: str, /, **arguments: str) -> Any:
        """Make a call whose answer never changes, such as what a revision of a task definition says; it is kept."""
        key = (service, operation, *(text for pair in sorted(arguments.items()) for text in pair))
        if key not in self._kept:
            self._kept[key] = self.call(service, operation, **arguments)
        return self._kept[key]

    def find(self, service: str, operation: str, /, **arguments: Any) -> Any:
        """Make a call that looks something up by its name; None where AWS says that it is not there."""
        try:
            return self.call(service, operation, **arguments)
        except UnreadableError as error:
            if error.cause is Cause.MISSING:
                return None
            raise

    def call(self, service: str, operation: str, /, **arguments: Any) -> Any:
        """Call the API by its own name of the operation, such as `DescribeServices`."""
        action = f"{_IAM_PREFIX.get(service, service)}:{operation}"
        try:
            client = self._clients(service, self._region)
            return getattr(client, _snake(operation))(**arguments)
        except ClientError as error:
            answer = error.response.get("Error", {})
            code = str(answer.get("Code", "no error code"))
            said = str(answer.get("Message", ""))[:200]
            cause = _cause(code)
            hint = cause.value.format(action=action)
            raise UnreadableError(f"{action} answered {code}: {said}; {hint}", cause) from error
        except BotoCoreError as error:
            said = str(error)[:200]
            cause = Cause.CREDENTIALS if isinstance(error, _NO_CREDENTIALS) else Cause.OTHER
            cause = Cause.NETWORK if isinstance(error, _NO_NETWORK) else cause
            hint = Cause.NETWORK.value
            raise UnreadableError(f"{action}: {type(error).__name__}: {said}; {hint}", cause) from error

    def members(self, service: str, operation: str) -> frozenset[str]:
        """The names of all that *operation* takes."""
        model = self._clients(service, self._region).meta.service_model
        return frozenset(model.operation_model(operation).input_shape.members)


def _cause(code: str) -> Cause:
    return next((cause for cause, words in _CODES.items() if any(word in code for word in words)), Cause.OTHER)


def _snake(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
