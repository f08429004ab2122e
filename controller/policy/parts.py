"""What every part of a policy has in common, and the parts that several have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from controller.model import Query
from controller.policy.values import Duration, Texts

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Part(BaseModel):
    """Any part of a policy: frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Rate(Part):
    """
    Good or bad events over matching units, or (`within`) exposed users whom the event followed in time.

    A unit counts by its first event in each `every`; with `mean`, by the share of its bad events in each.
    """

    event: str
    where: Mapping[str, Texts] = {}
    good: Annotated[Mapping[str, Texts], Field(min_length=1)] | None = None
    bad: Annotated[Mapping[str, Texts], Field(min_length=1)] | None = None
    within: Duration | None = None
    unit: str = "user"
    every: Duration | None = None
    mean: bool = False

    @model_validator(mode="after")
    def _outcome(self) -> Rate:
        if sum(x is not None for x in (self.good, self.bad, self.within)) != 1:
            raise ValueError("give exactly one of good, bad and within")
        if self.mean and (self.within or self.every is None or self.unit == "event"):
            raise ValueError("mean needs every, a unit other than event, and good or bad")
        return self

    def query(self, name: str, **more: Any) -> Query:
        return Query(
            name, self.event, self.where, self.good, self.bad,
            within=self.within, needs=tuple(self.bad or ()), unit=self.unit, every=self.every, mean=self.mean, **more,
        )  # fmt: skip
