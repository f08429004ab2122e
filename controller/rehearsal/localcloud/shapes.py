"""
Fit Pulumi's property bags to the shapes of the AWS API, strictly, and back.

Pulumi writes camel case in Terraform's plurals, every number a float, and an unknown for what is
not known in a preview. botocore checks required members and types but no enum and no member
inside a bag of ours; what AWS would refuse is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # pulumi.runtime.rpc.UNKNOWN, part of the protocol
_SECRET = "4dabf18193072939515e22adb298388d"  # the key that marks a secret's envelope, likewise

Bag = dict[str, Any]


class BadInputError(ValueError):
    """An input that AWS would refuse: which one, what is there, what is allowed."""


def plain(value: Any) -> Any:
    """Take secrets out of their envelopes and make whole floats integers."""
    match value:
        case dict():
            if _SECRET in value:
                return plain(value["value"])
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case float() if value.is_integer():
            return int(value)
    return value


def has_unknown(value: Any) -> bool:
    """Tell whether any part of *value* is not known yet."""
    if isinstance(value, dict):
        return any(map(has_unknown, value.values()))
    return any(map(has_unknown, value)) if isinstance(value, list) else value == UNKNOWN


def fit(shape: Any, value: Any, path: str) -> Any:
    """
    Return *value* as botocore takes it for *shape*.

    Raises:
        BadInputError: a member that the shape does not have, a value of the wrong type, or one
            that is not in the shape's enum; *path* leads to it.
    """
    if value == UNKNOWN:
        return _stand_in(shape)
    match shape.type_name:
        case "structure":
            return _structure(shape, value, path)
        case "list":
            items = value if isinstance(value, list) else [value]
            return [fit(shape.member, item, f"{path}[{i}]") for i, item in enumerate(items)]
        case "map":
            return {str(k): fit(shape.value, item, f"{path}[{k}]") for k, item in value.items()}
        case "integer" | "long":
            if isinstance(value, str) and value.lstrip("-").isdigit():
                return int(value)
            if isinstance(value, bool) or not isinstance(value, int):
                raise BadInputError(f"{path} is {value!r}; it should be a whole number")
            return value
        case "double" | "float":
            return float(value)
        case "boolean":
            if not isinstance(value, bool):
                raise BadInputError(f"{path} is {value!r}; it should be true or false")
            return value
        case "string":
            return _string(shape, value, path)
    return value


def _structure(shape: Any, value: Any, path: str) -> Bag:
    if not isinstance(value, dict):
        raise BadInputError(f"{path} is {value!r}; it should be an object")
    fitted: Bag = {}
    for key, item in value.items():
        if item is None:
            continue
        name = member(shape.members, key)
        if name is None:
            known = ", ".join(sorted(shape.members))
            raise BadInputError(f"{path}.{key} is not a member of {shape.name}; known are {known}")
        fitted[name] = fit(shape.members[name], item, f"{path}.{key}")
    return fitted


def _string(shape: Any, value: Any, path: str) -> str:
    allowed = list(getattr(shape, "enum", None) or ())
    if isinstance(value, bool):  # Terraform's boolean for what the API spells out
        on_off = "ENABLED" if value else "DISABLED"
        value = on_off if on_off in allowed else str(value).lower()
    text = str(value)
    if allowed and text not in allowed:
        raise BadInputError(f"{path} is {text!r}; it should be one of {', '.join(allowed)}")
    return text


def _stand_in(shape: Any) -> Any:
    """Return something valid for what a preview does not know."""
    if shape.type_name == "structure":
        return {name: _stand_in(shape.members[name]) for name in shape.required_members}
    stand_ins: dict[str, Any] = {
        "list": [], "map": {}, "boolean": True,
        "integer": 1, "long": 1, "double": 1.0, "float": 1.0,
    }  # fmt: skip
    return stand_ins.get(shape.type_name, "unknown-until-created")


def member(members: Mapping[str, Any], key: str) -> str | None:
    """Find Pulumi's *key* among *members*, which differ in case and in plurals."""
    by_lower = {name.lower(): name for name in members}
    singular = key.removesuffix("s")
    for candidate in (key, f"{key}s", singular, f"{key.removesuffix('ies')}y"):
        if candidate.lower() in by_lower:
            return by_lower[candidate.lower()]
    return None


def reflect(declared: Any, live: Any) -> Any:
    """
    Return the *live* value in the form of the *declared* one, so that the two can be compared.

    Members that were not declared are left out, and a member that the answer does not carry keeps
    its declared value: moto does not return all that it is given.
    """
    if isinstance(declared, dict) and isinstance(live, dict):
        seen: Bag = {}
        for key, value in declared.items():
            name = member(live, key)
            seen[key] = value if name is None else reflect(value, live[name])
        return seen
    if isinstance(declared, list) and isinstance(live, list):
        if all(isinstance(item, str) for item in [*declared, *live]):
            return declared if sorted(declared) == sorted(live) else live
        if len(declared) == len(live):
            return [reflect(one, other) for one, other in zip(declared, live, strict=True)]
        return live
    if isinstance(declared, bool) and isinstance(live, str):
        return live.lower() in ("enabled", "true")
    if isinstance(declared, str) and not isinstance(live, str | dict | list):
        return str(live)
    return plain(live)
