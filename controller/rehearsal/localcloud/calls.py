"""Calls of the AWS API, from property bags, checked as AWS would check them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from controller.rehearsal.localcloud.shapes import BadInputError, Bag, fit


class Aws:
    """The API of one region, through *client*: service name -> boto3 client."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self.client = client

    def arguments(self, service: str, operation: str, bag: Bag) -> Bag:
        """
        Return *bag* as the arguments of *operation*, without calling it.

        Raises:
            BadInputError: what the API's own model refuses.
        """
        shape = self.client(service).meta.service_model.operation_model(operation).input_shape
        fitted: Bag = fit(shape, bag, operation)
        report = ParamValidator().validate(fitted, shape)
        if report.has_errors():
            raise BadInputError(f"{operation}: {report.generate_report()}")
        return fitted

    def call(self, service: str, operation: str, bag: Bag) -> Any:
        """Make the call; errors of the API are raised as they come."""
        client = self.client(service)
        method = next(name for name, op in client.meta.method_to_api_mapping.items() if op == operation)
        return getattr(client, method)(**self.arguments(service, operation, bag))

    def find(self, service: str, operation: str, bag: Bag) -> Any:
        """Make a call that looks something up; None where AWS says that it is not there."""
        try:
            return self.call(service, operation, bag)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if any(word in code for word in ("NotFound", "NoSuch", "NonExistent", "InvalidParameterValue")):
                return None
            raise


def said(error: BaseException) -> str:
    """Return an error's reason, without what botocore adds to that of AWS."""
    if isinstance(error, ClientError):
        answer = error.response["Error"]
        return f"{error.operation_name} answered {answer['Code']}: {answer['Message']}"
    if isinstance(error, BadInputError):
        return str(error)
    return f"{type(error).__name__}: {error}"
