"""How a policy writes durations, shares and bounds: `10m`, `2%`, `<= 5 s`. Each knows its JSON Schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, WithJsonSchema

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = r"^([1-9][0-9]{0,5})(s|m|h|d)$"
_SHARE = r"^([0-9]+(?:\.[0-9]+)?) ?%$"
_PER_TIME = r"^([0-9]+(?:\.[0-9]+)?)/(s|m|h|d)$"
_MARGIN = r"^([0-9]+(?:\.[0-9]+)?) ?(%|points?)$"
_BOUND = r"^(<=|>=|<|>) ?([0-9]+(?:\.[0-9]+)?) ?(%|[a-z]+)?$"


def duration(value: object) -> timedelta:
    """
    Raises:
        ValueError: *value* is no text such as `15m`.
    """
    match = re.match(_DURATION, value) if isinstance(value, str) else None
    if not match:
        raise ValueError("write a duration such as 15m, 1h or 5d")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def _share(value: object) -> float:
    match = re.match(_SHARE, value) if isinstance(value, str) else None
    if not match or float(match[1]) > 100:
        raise ValueError("write a share such as 2% (0% to 100%)")
    return float(match[1]) / 100


def per_day(value: object) -> float:
    """`50/d` or `20/h` as so many a day."""
    match = re.match(_PER_TIME, value) if isinstance(value, str) else None
    if not match or float(match[1]) == 0:
        raise ValueError("write a rate above 0 such as 50/d or 20/h")
    return float(match[1]) * _SECONDS["d"] / _SECONDS[match[2]]


@dataclass(frozen=True, slots=True)
class Bound:
    """A comparison with a number: `<= 5 s`, `>= 85%`. A percent is kept as a fraction, with the unit `%`."""

    op: Literal["<=", ">=", "<", ">"]
    value: float
    unit: str

    @property
    def upper(self) -> bool:
        """Whether small values are good (`<= 5 s`) or, for a warning, whether large ones warn (`> 8 s`)."""
        return self.op in ("<=", ">")

    def __str__(self) -> str:
        return f"{self.op} {number(self.value, self.unit)}"


def number(value: float, unit: str) -> str:
    """*value* as a person writes it: `85 %`, `5 s`, `3`."""
    if unit == "%":
        return f"{value * 100:.3g} %" if value < 0.9995 else f"{value * 100:.4g} %"
    return f"{value:.3g} {unit}".rstrip()


def length(span: timedelta) -> str:
    """*span* in its two largest units: `5d 3h`, `0m`."""
    minutes = int(span.total_seconds() // 60)
    days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
    parts = [f"{value}{unit}" for value, unit in ((days, "d"), (hours, "h"), (rest, "m")) if value]
    return " ".join(parts[:2]) or "0m"


def _bound(value: object) -> Bound:
    match = re.match(_BOUND, value) if isinstance(value, str) else None
    if not match:
        raise ValueError("write a bound in quotes, such as '<= 5 s' or '>= 85%'")
    op, text, unit = match.groups()
    scale = 100 if unit == "%" else 1
    return Bound(op, float(text) / scale, unit or "")  # type: ignore[arg-type]


def _level(value: object) -> Bound:
    """`5 s` or `40%` without an operator, where the key (`above`, `below`) already says the direction."""
    if not isinstance(value, str) or re.match(r"^[<>]", value):
        raise ValueError("write a level such as 5 s or 40%")
    return _bound(f"> {value}")


@dataclass(frozen=True, slots=True)
class Margin:
    """A distance to the control arm: a share of its rate (`10%`), or points of a rate (`2 points`)."""

    value: float
    points: bool

    def __str__(self) -> str:
        return f"{self.value * 100:.3g} points" if self.points else number(self.value, "%")


def _margin(value: object) -> Margin:
    match = re.match(_MARGIN, value) if isinstance(value, str) else None
    if not match or not float(match[1]) or (match[2] != "%" and float(match[1]) >= 100):
        raise ValueError("write a share of the control's rate such as 10%, or a distance such as 2 points")
    return Margin(float(match[1]) / 100, points=match[2] != "%")


def _texts(value: object) -> object:
    """One attribute value or a list of them, as the texts that an event's attribute is compared with."""
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if value == []:
        raise ValueError("name at least one value")
    if isinstance(value, list):
        return tuple(str(_texts(item)[0]) for item in value)  # type: ignore[index]
    return (str(value),) if isinstance(value, (str, int, float)) else value


Duration = Annotated[timedelta, BeforeValidator(duration), WithJsonSchema({"type": "string", "pattern": _DURATION})]
Share = Annotated[float, BeforeValidator(_share), WithJsonSchema({"type": "string", "pattern": _SHARE})]
PerDay = Annotated[float, BeforeValidator(per_day), WithJsonSchema({"type": "string", "pattern": _PER_TIME})]
MarginText = Annotated[Margin, BeforeValidator(_margin), WithJsonSchema({"type": "string", "pattern": _MARGIN})]
BoundText = Annotated[Bound, BeforeValidator(_bound), WithJsonSchema({"type": "string", "pattern": _BOUND})]
Level = Annotated[
    Bound,
    BeforeValidator(_level),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(?:\.[0-9]+)? ?(%|[a-z]+)?$"}),
]
_SCALAR = {"type": ["string", "number", "boolean"]}
Texts = Annotated[
    tuple[str, ...],
    BeforeValidator(_texts),
    WithJsonSchema({"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "minItems": 1}]}),
]
