"""Holds requests and answers against a product's published description, so that a fake cannot drift from it."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from tests.forges.fakes.server import Answer, Request, alike

FOLDER = Path(__file__).parents[1] / "openapi"


class Description:
    """
    The OpenAPI description in file *name*, of paths below *base*.

    Stricter than OpenAPI: a field or query parameter that is not described is wrong, since a misspelt one would have no
    effect. More lenient: what is not required may be null, as Go and Ruby write what is empty.
    """

    def __init__(self, name: str, base: str) -> None:
        self._base = base
        self._whole = json.loads((FOLDER / name).read_text())
        components = self._whole["components"]
        self._of_requests = {"components": _strict(components, nullable=False)}
        self._of_answers = {"components": _strict(components, nullable=True)}
        self._passed: set[str] = set()  # what need not be looked at again

    def check(self, request: Request, answer: Answer) -> None:
        """
        Raises:
            AssertionError: the request or the answer is not as described.
        """
        asked = [request.method, request.path, request.query, request.body]
        key = alike([asked, answer.status, _kinds(answer.body)])
        if key in self._passed:
            return
        operation = self._operation(request)
        assert operation is not None, "there is no such operation"
        self._check_query(operation, request)
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        assert request.body is None or schema is not None, "it takes no body"
        if schema is not None:
            _validate(request.body, _strict(schema, nullable=False), self._of_requests, "request")
        responses = operation["responses"]
        found = responses.get(str(answer.status))
        if found is None:
            refused = answer.status >= 400
            assert refused, f"status {answer.status} is not one of {', '.join(responses)}"
            return
        content = self._resolve(found).get("content")
        if content and answer.status < 300:
            schema = _strict(content["application/json"]["schema"], nullable=True)
            empty = answer.body is None and schema.get("type") == "array"  # Go's empty list
            if not empty:
                _validate(answer.body, schema, self._of_answers, "answer")
        self._passed.add(key)

    def _operation(self, request: Request) -> Any:
        path = request.path.removeprefix(self._base)
        for template, item in self._whole["paths"].items():
            if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template.replace("{branch}", ".+")), path):
                return item.get(request.method.lower())
        return None

    def _check_query(self, operation: Any, request: Request) -> None:
        described = {p["name"]: p["schema"] for p in operation.get("parameters", ()) if p["in"] == "query"}
        for name, value in request.query.items():
            assert name in described, f"there is no query parameter {name}"
            schema = described[name]
            assert schema.get("type") != "integer" or value.isdigit(), f"{name}={value} is no number"
            assert "enum" not in schema or value in schema["enum"], f"{name}={value} is none of {schema['enum']}"

    def _resolve(self, value: Any) -> Any:
        while "$ref" in value:
            _, kind, key = value["$ref"].removeprefix("#/").split("/")
            value = self._whole["components"][kind][key]
        return value


@cache
def described(name: str, base: str) -> Description:
    """Reading one takes longer than a test."""
    return Description(name, base)


def _strict(value: Any, *, nullable: bool) -> Any:
    if isinstance(value, list):
        return [_strict(item, nullable=nullable) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _strict(item, nullable=nullable) for key, item in value.items()}
    if isinstance(properties := result.get("properties"), dict) and "type" in result:
        result["additionalProperties"] = False
        if nullable:
            optional = properties.keys() - set(result.get("required", ()))
            properties |= {name: {"anyOf": [properties[name], {"type": "null"}]} for name in optional}
    return result


def _validate(instance: Any, schema: Any, root: Any, what: str) -> None:
    validator = Draft202012Validator(root | schema, format_checker=FormatChecker())
    errors = sorted(validator.iter_errors(instance), key=lambda error: list(error.path))
    assert not errors, f"{what}: " + "; ".join(f"{'/'.join(map(str, e.path))}: {_why(e)}" for e in errors[:3])


def _kinds(body: Any) -> Any:
    """*body*, of a list each kind of item once."""
    return sorted({alike(item) for item in body}) if isinstance(body, list) else body


def _why(error: Any) -> str:
    inner = [_why(e) for e in error.context if e.validator != "type" or "null" not in str(e.schema)]
    return "; ".join(inner) or error.message[:200]
