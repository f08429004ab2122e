"""Read `rollout.yaml`, or refuse it with file, line, column, key, what was found and what is allowed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from controller.errors import ConfigError
from controller.policy.contradictions import contradictions
from controller.policy.schema import Policy

Path = tuple[str | int, ...]


def load(data: bytes, *, name: str = "rollout.yaml") -> Policy:
    """
    The policy in *data*; *name* is what errors call the file.

    Raises:
        ConfigError: one line for each thing wrong, each with its place.
    """
    tree, marks = _parse(data, name)
    try:
        policy = Policy.model_validate(tree)
        lines = [_line(path, sentence, marks, name) for path, sentence in contradictions(policy)]
    except ValidationError as error:
        lines = [_describe(item, tree, marks, name) for item in error.errors()]
    if lines:
        raise ConfigError("\n".join(dict.fromkeys(lines)))
    return policy


def json_schema() -> str:
    """The JSON Schema of a policy, as published in `rollout.schema.json`."""
    schema = Policy.model_json_schema(mode="validation", by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2) + "\n"


def _parse(data: bytes, name: str) -> tuple[Any, dict[Path, yaml.Mark]]:
    marks: dict[Path, yaml.Mark] = {}
    loader = None
    try:
        loader = yaml.SafeLoader(data.decode("utf-8-sig"))
        root = loader.get_single_node()
        if root is None:
            raise ConfigError(f"{name}:1:1: the file is empty; see docs/guide.md for a policy")
        for path, node in _nodes((), root, name):
            marks[path] = node.start_mark
        return loader.construct_document(root), marks
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ConfigError(f"{place}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {str(error).splitlines()[0]}") from None
    finally:
        if loader is not None:
            loader.dispose()


def _nodes(path: Path, node: yaml.Node, name: str) -> Iterator[tuple[Path, yaml.Node]]:
    yield path, node
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                at = key.start_mark
                raise ConfigError(f"{name}:{at.line + 1}:{at.column + 1}: a key must be a single word")
            if key.value in seen:
                mark = key.start_mark
                raise ConfigError(f"{name}:{mark.line + 1}:{mark.column + 1}: {key.value} stands twice; keep one")
            seen.add(key.value)
            yield (*path, key.value, "#key"), key
            yield from _nodes((*path, key.value), value, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _nodes((*path, index), value, name)


def _describe(item: Any, tree: Any, marks: dict[Path, yaml.Mark], name: str) -> str:
    path = _own_path(item["loc"], tree)
    if item["type"] == "extra_forbidden":
        path = (*path, "#key")
    elif item["type"] == "missing":
        path = (*path, item["loc"][-1])
    return _line(path, _sentence(item), marks, name)


def _line(path: Path, sentence: str, marks: dict[Path, yaml.Mark], name: str) -> str:
    """One error: its place is that of *path*, or of the nearest part above it that the file has."""
    key = ".".join(str(part) for part in path if part != "#key") or "the file"
    while path and path not in marks:
        path = path[:-1]
    mark = marks.get(path)
    place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    return f"{place}: {key}: {sentence}"


def _own_path(loc: Path, tree: Any) -> Path:
    """The part of pydantic's location that the file has: it also names the branches of a union that it tried."""
    path: list[str | int] = []
    for part in loc:
        if (isinstance(tree, dict) and part in tree) or (isinstance(tree, list) and isinstance(part, int)):
            path.append(part)
            tree = tree[part]  # type: ignore[index]  # an int where it is a list
    return tuple(path)


def _sentence(item: Mapping[str, Any]) -> str:
    found, kind = item["input"], item["type"]
    if kind == "extra_forbidden":
        allowed = _allowed_keys(item["loc"])
        near = difflib.get_close_matches(str(item["loc"][-1]), allowed, n=1)
        hint = f"; did you mean {near[0]}" if near else ""
        return f"unknown key{hint} (allowed: {', '.join(allowed)})"
    if kind == "missing":
        return "is missing; add it"
    message: str = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if isinstance(found, dict):
        return message
    shown = json.dumps(found, default=str)
    return f"found {shown if len(shown) <= 60 else shown[:57] + '...'}; {message}"


def _allowed_keys(loc: tuple[str | int, ...]) -> list[str]:
    """The keys allowed where pydantic met an unknown one: walk the models along its location."""
    models = _models(Policy)
    tags = {"sustained": "Sustained", "first": "FirstUnits", "any": "AnyEvent", "count": "CountPerTime",
            "control": "AgainstControl", "level": "KpiLevel",
            "command": "CommandCheck", "http": "HttpCheck", "ask": "PersonCheck"}  # fmt: skip
    current: type[BaseModel] = Policy
    for part in loc[:-1]:
        if isinstance(part, str):
            by_field = next(
                (m for m in (models.get(tags.get(part, part)), _field_model(current, part)) if m),
                None,
            )
            current = by_field or current
    return [info.alias or field for field, info in current.model_fields.items()]


def _models(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for inner in _inner(model):
        if inner.__name__ not in found:
            found[inner.__name__] = inner
            found |= _models(inner)
    return found


def _inner(annotation: Any) -> Iterator[type[BaseModel]]:
    from typing import get_args

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for info in annotation.model_fields.values():
            yield from _leaf(info.annotation)
    else:
        for part in get_args(annotation):
            yield from _leaf(part)


def _leaf(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        yield from _inner(annotation)


def _field_model(model: type[BaseModel], part: str) -> type[BaseModel] | None:
    for field, info in model.model_fields.items():
        if part in (field, info.alias):
            return next(_leaf(info.annotation), None)
    return None
