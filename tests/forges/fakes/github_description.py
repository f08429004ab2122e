"""GitHub's own OpenAPI description: requests and answers are held against it, and answers are made from it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from tests.forges.fakes.server import Answer, Request, alike

FOLDER = Path(__file__).parents[1] / "openapi"
_VALUES: Mapping[str, Any] = {
    "array": [],
    "integer": 1,
    "number": 1,
    "boolean": False,
    "uri": "https://example.com/",
    "date-time": "2026-03-02T10:00:00Z",
}


class Description:
    """
    The slice of it in `tests/forges/openapi`.

    A property of a body, or a parameter, that it does not have is an error too: GitHub would pass over a misspelt one
    without a word. Of an answer with a status that it does not know, only the request is checked.
    """

    def __init__(self) -> None:
        self.document: dict[str, Any] = json.loads((FOLDER / "github.json").read_text())
        unchecked = Config(spec_validator_cls=None)  # whether GitHub's is a good one is not ours to tell
        self.openapi = OpenAPI.from_dict(self.document, config=unchecked)
        self._passed: set[str] = set()  # what need not be looked at again: it would be found the same

    def check(self, request: Request, answer: Answer) -> None:
        """Raises: AssertionError: the request or the answer is not as described."""
        operation = self._operation(request)
        self._check_names(operation, request)
        known = alike([request.method, request.path, request.query, request.body, answer.status])
        items = {known + alike(item): item for item in _items(answer.body)}
        new = {key: item for key, item in items.items() if key not in self._passed}
        if not new and known in self._passed:
            return
        got_body = list(new.values()) if isinstance(answer.body, list) else answer.body
        data = json.dumps(request.body).encode() if request.body is not None else None
        asked = MockRequest(
            *("http://localhost", request.method.lower(), request.path),
            args=dict(request.query),
            headers=dict(request.headers),
            data=data,
        )
        try:
            self.openapi.validate_request(asked)
            if str(answer.status) in operation["responses"] and got_body is not None:
                got = MockResponse(json.dumps(got_body).encode(), status_code=answer.status)
                self.openapi.validate_response(asked, got)
        except OpenAPIError as error:
            raise AssertionError(f"{answer.status}: {error}: {_deepest(error)}") from None
        self._passed |= {known, *new}

    def _operation(self, request: Request) -> Any:
        for path, item in self.document["paths"].items():
            if request.match(request.method, re.sub(r"\{[^}]*\}", "{}", path)) is not None:
                found = item.get(request.method.lower())
                assert found is not None, f"{path} does not take {request.method}"
                return found
        raise AssertionError("there is no such path")

    def _check_names(self, operation: Any, request: Request) -> None:
        known = {self._resolve(one)["name"] for one in operation.get("parameters", [])}
        assert not set(request.query) - known, f"there are no parameters {set(request.query) - known}"
        content = self._resolve(operation.get("requestBody", {})).get("content", {})
        schema = self._resolve(content.get("application/json", {}).get("schema", {}))
        if isinstance(request.body, dict):
            unknown = set(request.body) - set(schema.get("properties", ()))
            assert not unknown, f"there are no properties {unknown}"

    def _resolve(self, value: Any) -> Any:
        while "$ref" in value:
            found: Any = self.document
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            value = found
        return value

    def filled(self, name: str, /, **values: Any) -> Any:
        """A value of schema *name* with *values*, and for all else that it must have something of the right kind."""
        return json.loads(self._sample(name)) | values

    @cache  # noqa: B019 there is only one
    def _sample(self, name: str) -> str:
        return json.dumps(self._made(self.document["components"]["schemas"][name]))

    def _made(self, schema: Any) -> Any:
        schema = self._resolve(schema)
        if schema.get("nullable"):
            return None
        if "enum" in schema:
            return schema["enum"][0]
        for name in ("allOf", "anyOf", "oneOf"):
            if name in schema:
                return self._made(schema[name][0])
        if "properties" in schema or schema.get("type") == "object":
            return {key: self._made(schema["properties"][key]) for key in schema.get("required", ())}
        return _VALUES.get(schema.get("format", ""), _VALUES.get(schema.get("type", ""), "x"))


@cache
def description() -> Description:
    """Reading it takes longer than a test."""
    return Description()


def _items(body: Any) -> list[Any]:
    return body if isinstance(body, list) else [body]


def _deepest(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return "; ".join(str(one) for one in getattr(error, "schema_errors", ())) or str(error)
