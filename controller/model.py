"""
The values that the parts of the controller hand to each other. Frozen, no behaviour that decides anything.

Percents are integers from 0 to 100. Instants are aware datetimes in UTC, except in `Bucket`, where they are whole
seconds since the epoch. Shares and rates are fractions from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

# ---------------------------------------------------------------- what is declared, and what runs


class Exposure(StrEnum):
    """How users get into the pilot."""

    FLAG = "flag"  # one task definition; the app buckets users by PILOT_ROLLOUT_PCT
    TRAFFIC = "traffic"  # stable and candidate task definitions behind ALB weights


class Intake(StrEnum):
    """Whether the app takes new cases."""

    OPEN = "open"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Service:
    """`pilot:service` of a stack file, as far as the controller reads it."""

    cluster: str
    name: str
    image: str
    candidate_image: str | None = None
    health_url: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One service in AWS; without a region, in that of the environment."""

    cluster: str
    service: str
    region: str | None

    def parameter(self, key: str) -> str:
        """The name of an SSM parameter of the service."""
        return f"/pilot/{self.cluster}/{self.service}/{key}"


@dataclass(frozen=True, slots=True)
class Rollout:
    """`pilot:rollout` of a stack file: all that the controller may propose to change."""

    percent: int
    exposure: Exposure
    intake: Intake = Intake.OPEN
    hold: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    cohort: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Declared:
    """One stack file, read."""

    service: Service
    rollout: Rollout
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One scalar of a stack file, before and after; `path` is dotted, below `pilot:rollout`."""

    path: str
    old: str
    new: str


class Deployment(StrEnum):
    """State of the ECS deployments of a stack's services, worst first when they differ."""

    FAILED = "failed"
    IN_PROGRESS = "in progress"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Stop:
    """
    What a person did in AWS itself by `pilot kill` or `pilot rollback`, until `pulumi up` has applied as much.

    No more than `percent` of users are in the pilot and the intake is paused. After a rollback `task_definition` is
    what the service was taken back to, and `image` the one that it was taken away from, if that changed.
    """

    percent: int
    at: datetime
    by: str
    reason: str
    image: str = ""
    task_definition: str = ""


@dataclass(frozen=True, slots=True)
class Live:
    """
    What AWS runs, read back before anything is judged.

    `since` is when `percent` became live: the clock of the bake time. `applied` is when what runs was last changed; a
    mere redeployment does not move it; None where that is not known. `image` is that of the stable task definition,
    `candidate_image` only where there is one. `detail` says in words what the deployment is doing. `intake` is None
    where the tasks are not told. `stop` is the one that stands.
    """

    percent: int
    since: datetime
    deployment: Deployment
    image: str
    candidate_image: str | None = None
    flags: Mapping[str, str] = field(default_factory=dict)
    task_definition: str = ""
    detail: str = ""
    applied: datetime | None = None
    intake: Intake | None = None
    stop: Stop | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Live state could not be read; `reason` says which call, what it answered, and what to do; `stop` as in `Live`."""

    reason: str
    stop: Stop | None = None


# ---------------------------------------------------------------- what is asked of a source, and what it answers


class Arm(StrEnum):
    PILOT = "pilot"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Query:
    """
    One count that a source makes, bucket by bucket and arm by arm.

    Every matching unit counts once, in the bucket of its first event: `n` units, of which `bad` miss the target
    and `worse` are beyond the warning bound.

    - rate: a unit is bad when its event matches `bad`, or does not match `good`; `worse` equals `bad`.
    - quantile: bad when `field` > `above`, worse when > `above_warning`; an event with `timed_out: true`, or whose
      field is missing, negative or not a finite number, is bad and worse.
    - delayed (`within`): the units are users of the `exposure` event; each counts when its age reaches `within`
      and any event at all is as late as that, since silence is no outcome; it is bad unless an `event` followed its
      exposure in that time.

    Without `control` only the pilot's buckets are wanted.

    An event that lacks an attribute of `needs` is bad: what says nothing is no good news.
    `either_arm`: the arm does not matter; an event without one counts in the pilot's series.

    `where`, `good` and `bad` map an attribute to the values that match; a value like `5xx` matches that class of
    HTTP status. `unit` is `event` or the attribute that identifies what counts once (`user`, `packet`); `every` lets
    a unit count again once per that long. `resolution` is the length of a bucket in seconds. `first` asks for the
    outcomes of the first N units in order of time; `quantile` for that quantile of `field` (0 to 1). With `mean`, a
    unit counts at the end of each `every` in which it has events, and is bad by the share of them that are.
    """

    name: str
    event: str
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    good: Mapping[str, tuple[str, ...]] | None = None
    bad: Mapping[str, tuple[str, ...]] | None = None
    field: str | None = None
    above: float | None = None
    above_warning: float | None = None
    quantile: float | None = None
    within: timedelta | None = None
    unit: str = "event"
    every: timedelta | None = None
    mean: bool = False
    resolution: int = 300
    first: int = 0
    needs: tuple[str, ...] = ()
    control: bool = True
    either_arm: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """
    The time that a source reads.

    `start` is where this release begins: one event since then counts, and so do the first N. Rates count from `rates`,
    when what runs was applied, so that nothing before it is held against it; estimates and advance evidence from
    `stage`, when the current stage became live. `now` is the instant of the pass, and none of the others is later.
    """

    start: datetime
    stage: datetime
    now: datetime
    since: datetime | None = None

    @property
    def rates(self) -> datetime:
        return self.since or self.start


class Bucket(NamedTuple):
    """
    Counts of the units whose time fell in [end - resolution, end); `end` in seconds since the epoch.

    `bad` and `worse` are whole numbers, but for means, of which they are sums.
    """

    end: int
    n: int
    bad: float
    worse: float


@dataclass(frozen=True, slots=True)
class Series:
    """
    The answer to one query.

    Buckets are in order of time, without empty ones, over the whole window. `estimate` is the asked quantile of the
    field over the pilot arm since the stage began, in the field's own unit. `first` are the outcomes (True is bad)
    of the pilot arm's first units since `window.start`. `last` is the newest matching event of any arm.
    `examples` are the ids of the first few bad events.
    """

    pilot: tuple[Bucket, ...] = ()
    control: tuple[Bucket, ...] = ()
    estimate: float | None = None
    first: tuple[bool, ...] = ()
    last: datetime | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """
    Everything a source says of one window.

    `gaps` are the spans of the window in which events may be missing, as pairs of instants; a source that cannot
    miss any has none. `malformed`, `duplicates` and `future` count records that a series lacks; `notes` says
    the first few of them in words. `last` is the newest usable event of any type.
    """

    series: Mapping[str, Series]
    gaps: tuple[tuple[datetime, datetime], ...] = ()
    malformed: int = 0
    duplicates: int = 0
    future: int = 0
    notes: tuple[str, ...] = ()
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it was recorded, under our names; `attributes` are the rest of it, as text."""

    id: str
    ts: datetime
    type: str
    arm: str
    attributes: Mapping[str, str] = field(default_factory=dict)


# ---------------------------------------------------------------- what the evidence says


class KpiStatus(StrEnum):
    """How one KPI stands; the order is from worst to best."""

    BREACH = "breach"  # credible evidence against the target
    MISSING = "missing"  # no units at all
    STALE = "stale"  # its events stopped coming
    INCOMPLETE = "incomplete"  # events may be missing from the window
    SMALL = "too small"  # fewer units than the stage asks for
    HOLD = "hold level"  # not bad enough to revert, too bad to advance
    OPEN = "open"  # nothing wrong, not yet proven
    PASSED = "passed"  # passes the stage's proof


@dataclass(frozen=True, slots=True)
class KpiEvidence:
    """
    What the events say of one KPI.

    `n`, `bad` and `estimate` are of the pilot arm since the stage began. `estimate`, `target` and `warning` are in the
    KPI's own unit (a fraction, seconds); `low` and `high` bound the estimate at 95 %, at any time of looking. `needed`
    is about how many more units the proof takes if they go on as they do, None where that cannot be said. `trend` is
    the share of good units in equal parts of the stage's time, oldest first, None where a part has none.
    """

    status: KpiStatus
    n: int
    bad: float
    estimate: float | None
    low: float | None
    high: float | None
    target: float
    warning: float | None
    e_advance: float
    e_revert: float
    e_hold: float
    freshness_s: float | None
    complete: bool
    reason: str
    needed: int | None = None
    trend: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Proportion:
    """Users per arm since the stage began against the planned share; `e` is the evidence that they do not fit."""

    pilot: int
    control: int
    planned: float
    e: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """All KPIs, their combined evidence for a revert, and the arms' proportion (None where there is one arm)."""

    kpis: Mapping[str, KpiEvidence]
    e_revert: float
    proportion: Proportion | None = None


class TriggerStatus(StrEnum):
    FIRED = "fired"
    QUIET = "quiet"
    UNKNOWN = "unknown"  # its data are missing or stale


@dataclass(frozen=True, slots=True)
class TriggerResult:
    status: TriggerStatus
    reason: str


# ---------------------------------------------------------------- what a preflight found


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check went, in *words*, and how many *seconds* it took."""

    title: str
    ok: bool
    words: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a preflight found, `at` an instant and run `by` a person or a CI; `release` is what of."""

    release: str
    at: datetime
    by: str
    items: tuple[CheckResult, ...]

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        return tuple(item for item in self.items if not item.ok)


class Health(StrEnum):
    """How much a finding of the doctor asks for."""

    FINE = "fine"
    NOTE = "note"  # works, and could be better, or cannot be looked at
    LATER = "later"  # did not answer; may answer later
    WRONG = "wrong"  # a person must act


@dataclass(frozen=True, slots=True)
class Finding:
    """What the doctor found: `about` what, in `words`, and what is to be done."""

    about: str
    health: Health
    words: str
    todo: str = ""


# ---------------------------------------------------------------- history and the decision


@dataclass(frozen=True, slots=True)
class Commit:
    """
    One commit of the base branch that changed a stack file, newest first in a history.

    `by` is the committer's name, `rollout_id` the trailer of a commit that the controller proposed, None for a person's
    own. `declared` is the file after it; None where the file could not be read at that commit.
    """

    oid: str
    time: datetime
    by: str
    subject: str
    rollout_id: str | None
    declared: Declared | None


class Verdict(StrEnum):
    ADVANCE = "advance"
    HOLD = "hold"
    REVERT = "revert"
    FLIP = "flip"


@dataclass(frozen=True, slots=True)
class Decision:
    """
    One decision as data (see docs/guide.md): what the pull request, the status and the history are rendered from.

    `changes` maps a key path below `pilot:rollout` to its old and new value. `reasons` are sentences, the deciding one
    first. `next_check` is the earliest instant at which another answer is to be expected by time alone. `asks` are the
    holds that only a person ends, as a few words that stay the same from pass to pass, with the reason. `readiness` is
    the preflight on which users are let in, None for any other decision.
    """

    stack: str
    verdict: Verdict
    from_percent: int
    to_percent: int
    changes: Mapping[str, tuple[Any, Any]]
    reasons: tuple[str, ...]
    next_check: datetime
    window: Window
    evidence: Evidence
    triggers: Mapping[str, TriggerResult]
    policy_sha256: str
    evidence_sha256: str
    readiness: Readiness | None = None
    asks: Mapping[str, str] = field(default_factory=dict)


# ---------------------------------------------------------------- what people are told


class News(StrEnum):
    """Kinds of news, which a channel may choose from."""

    LAUNCH = "launch"  # the first users are in
    STAGE = "stage"  # another percent or flag is live
    HOLD = "hold"  # nothing goes on until a person acts
    REVERT = "revert"  # a pull request takes a step back
    ROLLBACK = "rollback"  # a kill or a rollback in AWS, and each of its steps that people wait for
    INCIDENT = "incident"
    OUTPUTS = "outputs"  # the first outputs, for the QA reviewer
    DAILY = "daily"


@dataclass(frozen=True, slots=True)
class Announcement:
    """One message for people: a title of one line, and plain text of a few. No secret may be in it."""

    kind: News
    title: str
    text: str
