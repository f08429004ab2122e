"""Read everything that one decision rests on, afresh. Trouble with AWS or the source becomes a reason to hold."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from itertools import chain

from controller import decide, evidence, readiness, stackfile, triggers
from controller.errors import ConfigError, PilotError
from controller.history import History
from controller.messages import incident, proposals, pull_request
from controller.model import Commit, Declared, Live, Readiness, Recorded, Unreadable, Verdict, Window
from controller.policy import Policy, load
from controller.ports import (
    FileCommit,
    LiveState,
    PrState,
    PullRequest,
    Repository,
    Source,
)

POLICY_FILE = "rollout.yaml"
_STACK_FILE = re.compile(r"^Pulumi\.([A-Za-z0-9._-]+)\.yaml$")


# Pure, and asked the same again at every pass of a long run.
_declared = lru_cache(maxsize=1024)(stackfile.read)
_policy = lru_cache(maxsize=8)(load)


def stack_file(stack: str) -> str:
    return f"Pulumi.{stack}.yaml"


@dataclass(frozen=True, slots=True)
class Sight:
    """
    The repository at one commit: the policy, and the stacks in the order in which they go.

    `trouble` is what is wrong with the newest policy; `policy` is then the last that could be read, so that a slip in a
    file does not keep anything from being reverted. `incidents` are those of each stack whose report is not merged.
    """

    tip: str
    policy: Policy
    policy_sha256: str
    stacks: tuple[str, ...]
    trouble: str | None = None
    incidents: Mapping[str, Sequence[str]] = field(default_factory=dict)


def look(repository: Repository) -> Sight:
    """
    Sync and read the policy.

    Raises:
        ConfigError: the repository has no policy or no stack file, or the policy is wrong.
    """
    tip = repository.sync()
    data = repository.read(tip, POLICY_FILE)
    if data is None:
        raise ConfigError(f"{POLICY_FILE} is missing at {tip[:8]}; write one (docs/guide.md) and commit it")
    trouble = None
    try:
        policy = _policy(data, name=POLICY_FILE)
    except ConfigError as error:
        policy, data = _last_readable(repository, tip, error)
        trouble = str(error)
    names = sorted(m[1] for name in repository.files(tip) if (m := _STACK_FILE.match(name)))
    if not names:
        raise ConfigError(f"no Pulumi.<stack>.yaml at the root of {tip[:8]}; add one per environment")
    named = {name: f"stacks.{name}" for name in policy.stacks}
    named |= {name: f"operations.preflight.stacks: {name}" for name in policy.operations.preflight.stacks}
    for name, place in named.items():
        if name not in names:  # a misspelt name would drop a gate without a word
            trouble = trouble or (
                f"{POLICY_FILE}: {place}: there is no {stack_file(name)} at {tip[:8]}; stacks here: {', '.join(names)}"
            )
    digest = hashlib.sha256(data).hexdigest()
    return Sight(tip, policy, digest, _in_order(names, policy), trouble, _incidents(repository, tip))


def _incidents(repository: Repository, tip: str) -> Mapping[str, Sequence[str]]:
    """The incidents whose branch is there and whose report is not at *tip*, by stack."""
    found: dict[str, list[str]] = {}
    for branch in sorted(repository.branches(incident.PREFIX)):
        stack, _, name = branch.removeprefix(incident.PREFIX).partition("/")
        if name and repository.read(tip, f"{incident.folder(stack, name)}/{incident.STATE}") is None:
            found.setdefault(stack, []).append(name)
    return found


def _last_readable(repository: Repository, tip: str, error: ConfigError) -> tuple[Policy, bytes]:
    for commit in repository.history(tip, POLICY_FILE):
        with suppress(ConfigError):
            if commit.data is not None:
                return _policy(commit.data, name=POLICY_FILE), commit.data
    raise error


def _in_order(names: Sequence[str], policy: Policy) -> tuple[str, ...]:
    """Stacks that others come after stand first."""

    def depth(name: str) -> int:
        ahead = policy.after(name)
        return 0 if ahead is None else 1 + depth(ahead)

    return tuple(sorted(names, key=lambda name: (depth(name), name)))


@dataclass(frozen=True, slots=True)
class Reader:
    """The adapters that observing needs; `source` makes the one of a stack from its policy."""

    repository: Repository
    live: LiveState
    source: Callable[[str, Policy], Source]


def observe(
    reader: Reader,
    sight: Sight,
    stack: str,
    *,
    now: datetime,
    pull_requests: Sequence[PullRequest] = (),
    forge_trouble: str | None = None,
    seen: Mapping[str, decide.Facts] | None = None,
) -> decide.Facts:
    """
    The facts of *stack* at *now*.

    *seen* holds the facts of the stacks that went before. *pull_requests* are those of this stack: what a person closed
    is a veto; *forge_trouble* says why there are none to be had.

    Raises:
        ConfigError, TransientError: the stack file cannot be read.
    """
    file, policy = stack_file(stack), sight.policy.for_stack(stack)
    data = reader.repository.read(sight.tip, file)
    if data is None:
        raise ConfigError(f"{file} is missing at {sight.tip[:8]}; restore it or remove the stack from {POLICY_FILE}")
    declared = _declared(data, name=file)
    history = past(reader.repository, sight.tip, stack)
    live = reader.live.read(declared.service, declared.rollout.exposure, declared.region)
    window = _window(history, live, now)
    recorded, window, trouble = _recorded(reader.source, stack, policy, window)
    facts = judge(stack, policy, declared, live, history, window, recorded, policy_sha256=sight.policy_sha256)
    ahead = sight.policy.after(stack)
    return replace(
        facts,
        source_trouble=trouble,
        policy_trouble=sight.trouble,
        forge_trouble=forge_trouble,
        gap_ended=max((end for _, end in recorded.gaps), default=None),
        behind=decide.behind(declared, policy, ahead, (seen or {}).get(ahead)) if ahead else None,
        vetoes=_vetoes(facts, pull_requests),
        readiness=ready(reader.repository, readiness.ref(stack)),
        incidents=tuple(sight.incidents.get(stack, ())),
    )


def judge(
    stack: str,
    policy: Policy,
    declared: Declared,
    live: Live | Unreadable,
    history: History,
    window: Window,
    recorded: Recorded,
    *,
    policy_sha256: str,
) -> decide.Facts:
    """The facts that follow from what was read; pure."""
    percent = live.percent if isinstance(live, Live) else declared.rollout.percent
    return decide.Facts(
        stack=stack,
        now=window.now,
        policy=policy,
        declared=declared,
        live=live,
        history=history,
        window=window,
        evidence=evidence.assess(
            policy,
            percent=percent,
            stage=decide.current_stage(policy, declared.rollout.percent),
            recorded=recorded,
            window=window,
        ),
        triggers=triggers.assess(policy, recorded=recorded, window=window),
        last_event=recorded.last,
        notes=recorded.notes,
        malformed=recorded.malformed,
        counted=sum(bucket.n for series in recorded.series.values() for bucket in series.pilot),
        policy_sha256=policy_sha256,
        evidence_sha256=fingerprint(recorded),
    )


def past(repository: Repository, tip: str, stack: str) -> History:
    """The history of a stack file up to *tip*, from Git alone."""
    file = stack_file(stack)
    return History.of([_commit(item, file) for item in repository.history(tip, file)])


def ready(repository: Repository, ref: str) -> Readiness | None:
    """The preflight, or the drill, that is kept at *ref*."""
    oid = repository.refs(ref).get(ref)
    return readiness.parse(repository.read(oid, readiness.FILE)) if oid else None


def _commit(item: FileCommit, file: str) -> Commit:
    try:
        declared = _declared(item.data, name=file) if item.data is not None else None
    except ConfigError:  # a person's broken commit, mended since
        declared = None
    person = pull_request.asked_by(item.message)  # what a person had the controller write is the person's
    return Commit(
        oid=item.oid,
        time=item.time,
        by=person or item.by,
        subject=item.message.split("\n", 1)[0],
        rollout_id=None if person else pull_request.rollout_id(item.message),
        declared=declared,
    )


def _window(history: History, live: Live | Unreadable, now: datetime) -> Window:
    """
    What to read: the release from its epoch, and rates from when what runs was applied.

    The latter only while no raise has followed: after one, the release has been running since long before it.
    """
    start = min(history.epoch or now, now)
    if isinstance(live, Unreadable):
        return Window(start, start, now)
    stage = min(max(start, live.since), now)
    applied = min(max(start, live.applied or live.since), now)
    return Window(start, stage, now, since=applied if history.restarted else start)


def _recorded(
    source: Callable[[str, Policy], Source], stack: str, policy: Policy, window: Window
) -> tuple[Recorded, Window, str | None]:
    """
    What the source says, and of which window. One that fails is a gap over all of it; it never stops the pass.

    A gap that is over restarts the stage's evidence and its bake time at its end: what was missed may have been bad,
    and what came since must carry the advance alone. One that is not over holds.
    """
    queries = (*evidence.queries(policy), *triggers.queries(policy))
    try:
        asked = source(stack, policy)
        recorded = asked.read(queries, window)
        over = [end for _, end in recorded.gaps if window.stage < end < window.now - policy.source.lag]
        if over:
            window = replace(window, stage=max(over))
            recorded = asked.read(queries, window)
        return recorded, window, None
    except PilotError as error:
        return Recorded({}, gaps=((window.start, window.now),)), window, str(error)


def _vetoes(facts: decide.Facts, pull_requests: Sequence[PullRequest]) -> dict[int, str]:
    """Advances of this very state that a person closed unmerged: percent to sentence."""
    stage = facts.policy.next_stage(facts.declared.rollout.percent)
    if stage is None:
        return {}
    percent = facts.declared.rollout.percent
    ident = proposals.ident(facts.stack, Verdict.ADVANCE, {"percent": (percent, stage.percent)}, file_commit(facts))
    for pr in pull_requests:
        if (sentence := veto(pr, ident)) is not None:
            return {stage.percent: sentence}
    return {}


def veto(pr: PullRequest, ident: str) -> str | None:
    """
    Who declined the proposal *ident* by closing *pr*, in words; None where nobody did.

    Whoever opened it: a no stays a no when the controller gets another account.
    """
    proposal = proposals.parse(pr.body)
    if pr.state is not PrState.CLOSED or proposal is None or proposal.id != ident or proposal.closed_reason:
        return None
    if proposals.branch(proposal) != pr.branch:
        return None  # a copy of our text on something else
    at = f" at {pr.closed_at:%Y-%m-%d %H:%M} UTC" if pr.closed_at else ""
    return f"{pr.closed_by or 'someone'} closed #{pr.number}{at}: declined until {stack_file(proposal.stack)} changes"


def file_commit(facts: decide.Facts) -> str:
    """The last commit that changed the stack file's values; what a proposal's id is of."""
    return facts.history.steps[0].commit.oid if facts.history.steps else ""


def fingerprint(recorded: Recorded) -> str:
    """SHA-256 of what a source said, so that two decisions can be compared by what they rest on."""
    digest = hashlib.sha256()
    for name, series in sorted(recorded.series.items()):
        rest = (name, series.estimate, series.first, str(series.last), series.examples)
        digest.update(json.dumps(rest).encode())
        for arm in (series.pilot, series.control):
            counts = array("q", chain.from_iterable(arm))  # as JSON they would cost more than the decision
            if sys.byteorder == "big":
                counts.byteswap()
            digest.update(len(arm).to_bytes(8, "little") + counts.tobytes())
    said = [recorded.gaps, recorded.malformed, recorded.duplicates, recorded.future, recorded.notes, recorded.last]
    digest.update(json.dumps(said, default=str).encode())
    return digest.hexdigest()
