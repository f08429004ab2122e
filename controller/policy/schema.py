"""
What `rollout.yaml` may hold. Unknown keys and contradictions are refused; no value is defaulted silently where the
default could let a release through.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from controller.model import Query
from controller.policy.operations import Operations, StackName
from controller.policy.parts import Name, Part, Rate
from controller.policy.values import (
    Bound,
    BoundText,
    Duration,
    Level,
    Margin,
    MarginText,
    PerDay,
    Share,
    Texts,
)

Percent = Annotated[int, Field(strict=True, ge=0, le=100)]


class Stage(Part):
    """One rung of the ladder."""

    percent: Percent
    bake: Duration = timedelta(0)
    watch: Duration | None = None
    proof: Literal["evidence", "estimate"] = "evidence"


class Risk(Part):
    """How often a healthy release may be reverted, and an unhealthy one advanced by a stage."""

    false_revert: Annotated[Share, Field(gt=0, le=0.2)]
    false_advance: Annotated[Share, Field(gt=0, le=0.2)]


class Source(Part):
    """
    Where the events are.

    `lag` is how long events may take to arrive: nothing younger is judged. `fields`, `types` and `arms` map our names
    to the product's own; the field `*` for `id` says that a record has none, and that two alike are one. `constants`
    are fields that the records lack since they would be the same in all. `times` is how `ts` is written: RFC 3339 with
    its zone, without a zone and in UTC, or as seconds or milliseconds since 1970.
    """

    kind: Literal["files", "events-api"]
    paths: tuple[str, ...] = ()
    url: str | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 200
    lag: Duration = timedelta(minutes=2)
    fields: Mapping[str, str] = {}
    types: Mapping[str, str] = {}
    arms: Mapping[Literal["pilot", "control"], str] = {}
    constants: Mapping[Literal["type", "arm", "ts"], str] = {}
    times: Literal["rfc3339", "utc", "unix"] = "rfc3339"

    @model_validator(mode="after")
    def _place(self) -> Source:
        if self.kind == "files" and not self.paths:
            raise ValueError("kind files needs paths")
        if self.kind == "events-api" and not self.url:
            raise ValueError("kind events-api needs url")
        if self.kind == "events-api" and (self.arms or self.constants or self.times != "rfc3339"):
            raise ValueError("arms, constants and times are for kind files; an API's events carry all that we read")
        return self

    @property
    def mapping(self) -> dict[str, Any]:
        """How records are written, as `JsonLines` takes it."""
        return {key: getattr(self, key) for key in ("fields", "types", "arms", "constants", "times")}


class Quantile(Part):
    """A percentile of a number that each event carries."""

    event: str
    field: str
    p: Annotated[int, Field(ge=1, le=99)]
    where: Mapping[str, Texts] = {}
    unit: str = "user"
    every: Duration | None = None

    def query(self, name: str, above: float, above_warning: float, **more: Any) -> Query:
        return Query(
            name, self.event, self.where, field=self.field, above=above, quantile=self.p / 100,
            above_warning=above_warning, unit=self.unit, every=self.every, **more,
        )  # fmt: skip


class Kpi(Part):
    """
    A measured quantity with its target and, mostly, a warning bound.

    `weight` is its share of the revert budget, relative to the others; with 0 it never reverts by itself, and its
    trigger is the remedy. No stage is left upwards on fewer than `min_units` good units.
    `stale` is how long its events may be silent before their absence says something. `bounds` says whether target and
    warning hold `always`, or for the mean of each whole day (`daily`), as where every night is worse than its day.
    `traffic` is how many units all users together bring, of which a stage of 10 % sees a tenth; no decision reads it.
    """

    title: str
    rate: Rate | None = None
    quantile: Quantile | None = None
    target: BoundText
    warning: BoundText | None = None
    required: bool = True
    weight: Annotated[float, Field(ge=0)] = 1
    min_units: Annotated[int, Field(ge=1)] = 10
    stale: Duration = timedelta(hours=6)
    bounds: Literal["always", "daily"] = "always"
    advice: str = ""
    traffic: PerDay | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Kpi:
        if (self.rate is None) == (self.quantile is None):
            raise ValueError("give exactly one of rate and quantile")
        if self.target.op not in ("<=", ">="):
            raise ValueError("a target is written with <= or >=")
        if self.rate and (self.target.unit != "%" or not 0 < self.target.value < 1):
            raise ValueError("the target of a rate is a percent between 0% and 100%")
        if self.quantile and (not self.target.upper or self.target.unit == "%"):
            raise ValueError("the target of a quantile is an upper bound in the field's unit")
        if self.warning is None:
            return self
        if self.warning.op not in ("<", ">"):
            raise ValueError("a warning is written with < or >")
        if self.warning.unit != self.target.unit or self.warning.upper != self.target.upper:
            raise ValueError(f"warning {self.warning} and target {self.target} measure differently")
        better = self.warning.value < self.target.value if self.target.upper else self.warning.value > self.target.value
        if better:
            raise ValueError(f"warning {self.warning} is better than target {self.target}")
        return self

    @property
    def bad_when_high(self) -> bool:
        """Whether a rate counts bad outcomes (error rate) or good ones (grant rate)."""
        return self.target.upper

    def query(self, name: str, **more: Any) -> Query:
        """The count that this KPI needs."""
        if self.quantile:
            warning = self.warning.value if self.warning else self.target.value
            return self.quantile.query(name, self.target.value, warning, **more)
        assert self.rate is not None
        return self.rate.query(name, **more)


class RevertTo(Part):
    revert_to: Percent


class SetFlag(Part):
    set: Annotated[str, Field(pattern=r"^flags\.[A-Za-z][A-Za-z0-9]*$")]
    to: str


def _action_kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "revert_to" if "revert_to" in value else "set"
    return "word"


Action = Annotated[
    Annotated[Literal["rollback", "hold"], Tag("word")]
    | Annotated[RevertTo, Tag("revert_to")]
    | Annotated[SetFlag, Tag("set")],
    Discriminator(_action_kind),
]


class TriggerBase(Part):
    then: Action
    advice: str = ""


def _typed(value: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    if len(value.get("event", ())) != 1:
        raise ValueError("needs one event, such as {event: legal_review, severity: critical}")
    return value


EventTexts = Annotated[Mapping[str, Texts], AfterValidator(_typed)]


def _matching(event: Mapping[str, tuple[str, ...]], name: str, **more: Any) -> Query:
    """The events of a type, the matching ones as bad."""
    conditions = {key: value for key, value in event.items() if key != "event"}
    return Query(name, event["event"][0], bad=conditions, **more)


def _by_events(rate: Rate) -> Rate:
    if rate.mean:
        raise ValueError("a trigger goes by units as they come, without mean")
    return rate


class Sustained(TriggerBase):
    """A rate above a level for a whole length of time."""

    rate: Annotated[Rate, AfterValidator(_by_events)]
    above: Share
    for_: Annotated[Duration, Field(alias="for")]


class FirstUnits(TriggerBase):
    """A rate above a level among the first N units, taken literally: certain as soon as it cannot be undone."""

    rate: Annotated[Rate, AfterValidator(_by_events)]
    above: Share
    in_first: Annotated[int, Field(ge=1, le=1000)]


class AnyEvent(TriggerBase):
    """One event is enough. `any` holds the event's type under `event` and the attributes that match."""

    any: EventTexts

    def query(self, name: str) -> Query:
        return _matching(self.any, name, resolution=60, either_arm=True)


class CountPerTime(TriggerBase):
    """
    More events than `above` in each `per` of time, where nothing says out of how many.

    `count` holds the event's type under `event` and the attributes that match.
    """

    count: EventTexts
    above: Annotated[float, Field(gt=0)]
    per: Duration

    def query(self, name: str) -> Query:
        return _matching(self.count, name, control=False)


class AgainstControl(TriggerBase):
    """A KPI's rate lower (better when high) or higher (better when low) than the control arm's by more than that."""

    kpi: Name
    below_control: MarginText | None = None
    above_control: MarginText | None = None

    @model_validator(mode="after")
    def _one_side(self) -> AgainstControl:
        if (self.below_control is None) == (self.above_control is None):
            raise ValueError("give exactly one of below_control and above_control")
        if self.below_control and self.below_control.value >= 1:
            raise ValueError("nothing is lower than the control's rate by 100% of it")
        return self

    @property
    def margin(self) -> Margin:
        margin = self.below_control or self.above_control
        assert margin is not None
        return margin


class KpiLevel(TriggerBase):
    """A KPI beyond a level: for a whole length of time (`for`), or by its estimate since the stage began."""

    kpi: Name
    above: Level | None = None
    below: Level | None = None
    for_: Annotated[Duration | None, Field(alias="for")] = None

    @model_validator(mode="after")
    def _one_level(self) -> KpiLevel:
        if (self.above is None) == (self.below is None):
            raise ValueError("give exactly one of above and below")
        return self

    @property
    def level(self) -> Bound:
        level = self.above or self.below
        assert level is not None
        return level


def _trigger_kind(value: Any) -> str:
    keys = set(value) if isinstance(value, Mapping) else set()
    if "any" in keys:
        return "any"
    if "count" in keys:
        return "count"
    if "rate" in keys:
        return "first" if "in_first" in keys else "sustained"
    return "control" if keys & {"below_control", "above_control"} else "level"


Trigger = Annotated[
    Annotated[Sustained, Tag("sustained")]
    | Annotated[FirstUnits, Tag("first")]
    | Annotated[AnyEvent, Tag("any")]
    | Annotated[CountPerTime, Tag("count")]
    | Annotated[AgainstControl, Tag("control")]
    | Annotated[KpiLevel, Tag("level")],
    Discriminator(_trigger_kind),
]


class Freeze(Part):
    """A weekly window, in UTC, in which no advance is proposed. Reverts ignore it."""

    days: Annotated[tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Field(min_length=1)]
    from_: Annotated[str, Field(alias="from", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "00:00"
    to: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")] = "24:00"

    def covers(self, now: datetime) -> bool:
        """Whether *now* (UTC) lies in the window; `from` after `to` reaches into the next day."""
        today, clock = (
            ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[now.weekday()],
            now.strftime("%H:%M"),
        )
        yesterday = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")[now.weekday()]
        if self.from_ < self.to:
            return today in self.days and self.from_ <= clock < self.to
        return (today in self.days and clock >= self.from_) or (yesterday in self.days and clock < self.to)


class StackOverride(Part):
    """What one stack does differently; `after` names the stack that must be ahead of it and healthy."""

    stages: tuple[Stage, ...] | None = None
    source: Source | None = None
    after: StackName | None = None
    cool_down: Duration | None = None


class Policy(Part):
    """
    The whole policy.

    `flags` lists the values that each feature flag may take. `merges_by_itself` names the verdicts whose pull requests
    the controller merges itself; an advance is always a person's.
    """

    stages: tuple[Stage, ...]
    risk: Risk
    source: Source
    kpis: Annotated[Mapping[Name, Kpi], Field(min_length=1)]
    triggers: Mapping[Name, Trigger] = {}
    flags: Mapping[str, tuple[str, ...]] = {}
    freeze: tuple[Freeze, ...] = ()
    cool_down: Duration = timedelta(days=1)
    max_reverts: Annotated[int, Field(ge=1)] = 2
    pull_request_ages_out: Duration = timedelta(days=1)
    merges_by_itself: tuple[Literal["revert", "flip"], ...] = ()
    operations: Operations = Operations()
    stacks: Mapping[StackName, StackOverride] = {}

    def for_stack(self, stack: str) -> Policy:
        """The policy as it holds for *stack*: its overrides applied."""
        override = self.stacks.get(stack, StackOverride())
        changed = {
            key: value for key in ("stages", "source", "cool_down") if (value := getattr(override, key)) is not None
        }
        return self.model_copy(update=changed)

    @property
    def revert_shares(self) -> Mapping[str, float]:
        """Each KPI's share of the budget for false reverts; together they are all of it."""
        total = sum(kpi.weight for kpi in self.kpis.values())
        return {name: kpi.weight / total for name, kpi in self.kpis.items()}

    def after(self, stack: str) -> str | None:
        """The stack that must be ahead of *stack*, if any."""
        return self.stacks[stack].after if stack in self.stacks else None

    def stage(self, percent: int) -> Stage | None:
        """The rung at *percent*; None off the ladder."""
        return next((stage for stage in self.stages if stage.percent == percent), None)

    def next_stage(self, percent: int) -> Stage | None:
        """The first rung above *percent*; None at the top."""
        return next((stage for stage in self.stages if stage.percent > percent), None)
