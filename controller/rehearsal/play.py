"""
Play one scenario: the same `reconcile` that runs in production, between simulated users and a local AWS.

Real: the Git repository and its pull requests, the policy, the decision, the Pulumi program and (where it is to be had)
the Pulumi engine. Simulated: the clock, the users, the people, and AWS.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from controller import observe, stackfile
from controller import reconcile as loop
from controller.aws.breakglass import BreakGlass
from controller.aws.live import EcsLiveState
from controller.decide import CHECK_AGAIN
from controller.forges.git import Git
from controller.forges.local import LocalForge
from controller.launch import preflight
from controller.model import CheckResult, Declared, Live, Place, Readiness, Unreadable, Verdict
from controller.ports import CheckState, PrState, PullRequest
from controller.rehearsal.localcloud.apply import Applier
from controller.rehearsal.localcloud.cloud import LocalAws
from controller.rehearsal.scenarios import End, Person, Scenario
from controller.rehearsal.users import App, Users
from controller.sources.jsonlines import JsonLines

LAUNCH = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)  # a Tuesday
DAY_BEFORE = LAUNCH - timedelta(days=1, hours=2)
MORNING = LAUNCH - timedelta(hours=2)
READY = LAUNCH - timedelta(hours=1)  # when the operator makes the preflight
SESSIONS_A_DAY = {"staging": 2000, "prod": 1800}
# Between passes: while a person or a fault is awaited or just came, while something happened of late, and at most.
# A production controller keeps a pace of 5 minutes.
CLOSE, RECENT, AT_MOST = timedelta(minutes=15), timedelta(hours=1), timedelta(hours=12)
THINKING = timedelta(minutes=10)  # from a pull request's opening to its merge; reverts are merged at once
# Sections of a stack file that a rehearsal replaces or does without, with all that stands below them.
_LEFT_OUT = r"(?m)^  pilot:(?:scaling|network|ingress|alarms|pipeline|controller):.*\n(?: {3,}.*\n)*"
ENGINEER, OPERATOR = "Ana Engineer", "Omar Operator"
CHECKLIST = "readiness/Pilot_Launch_Command_Checklist_7Day.md"
# What a rehearsal fills in, and what most do without: a CI, and a drill that stops staging.
NAMED = (
    ('support: ""', f"support: {OPERATOR}"),
    ('technical: ""', f"technical: {ENGINEER}"),
    ('qa: ""', "qa: Quinn Reviewer"),
)
_WITHOUT = (("ci: true", "ci: false"), ("    drill: 7d", "    #drill: 7d"))


@dataclass(frozen=True, slots=True)
class Beat:
    """One line of the timeline."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Story:
    """What happened: the timeline, prod's pull requests, the base branch's commits, and what did not end right."""

    scenario: str
    beats: tuple[Beat, ...]
    pull_requests: tuple[PullRequest, ...]
    commits: tuple[str, ...]
    passes: int
    declared: int
    live: int | None
    says: str
    wrong: tuple[str, ...]


@dataclass
class Play:
    """
    One scenario on its way.

    `applier` makes AWS what the merged stack files say; `folder` keeps the repository and the events. `policy` is what
    is replaced in the policy, `box` what the lines of the checklist begin with. Staging is `tested` until then.
    """

    policy: ClassVar[tuple[tuple[str, str], ...]] = (*NAMED, *_WITHOUT)
    box: ClassVar[str] = "- [x]"
    tested: ClassVar[datetime] = LAUNCH

    scenario: Scenario
    seed: int
    folder: Path
    shipped: Path
    aws: LocalAws
    applier: Applier
    tick: Callable[[float], None] = lambda share: None
    now: datetime = field(init=False)
    beats: list[Beat] = field(default_factory=list)
    passes: int = 0
    last: dict[str, loop.Outcome] = field(default_factory=dict)
    apps: dict[str, App] = field(default_factory=dict)
    stirred: datetime = field(init=False)
    acted: bool = False
    thinking: bool = False  # somebody has a pull request open and will merge it in minutes

    def __post_init__(self) -> None:
        self.now = self.stirred = self.begin = DAY_BEFORE if self.scenario.staging else MORNING

    def run(self) -> Story:
        """Play to the end and compare it with the end that the scenario names."""
        self._set_up()
        end = LAUNCH + timedelta(days=self.scenario.days)
        while self.now < end:
            self._pass()
            self._people()
            self._advance(self._next_look())
            self.tick(min(1.0, (self.now - self.begin) / (end - self.begin)))
        self._pass()
        story = self._story()
        self.git.close()
        return story

    # ------------------------------------------------------------ the world

    def _set_up(self) -> None:
        self.remote = self.folder / "repository.git"
        self.checkout = self.folder / "checkout"
        self.events = self.folder / "events"
        self.aws.now = self.now
        self._run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        self._run("git", "init", "--quiet", "--initial-branch=main", str(self.checkout))
        network = self.aws.network()
        (self.checkout / CHECKLIST).parent.mkdir()
        for name in ("rollout.yaml", "Pulumi.yaml", "Pulumi.staging.yaml", "Pulumi.prod.yaml", CHECKLIST):
            data = (self.shipped / name).read_text().replace("- [ ]", self.box)
            for old, new in self.policy if name == "rollout.yaml" else ():
                assert old in data, old
                data = data.replace(old, new, 1)
            if name == "Pulumi.staging.yaml" and not self.scenario.staging:
                data = stackfile.splice(data.encode(), {"percent": 100}, name=name)[0].decode()
            if name.startswith("Pulumi.") and name != "Pulumi.yaml":
                data = _local(data, network)
            (self.checkout / name).write_text(data)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", "Declare the pilot in staging and prod")
        self._git("remote", "add", "origin", str(self.remote))
        self._git("push", "--quiet", "origin", "main")
        self.git = Git(self.remote)
        self.forge = self._forge()
        self.users = {}
        self.sources: dict[str, JsonLines] = {}
        for stack, sessions in SESSIONS_A_DAY.items():
            (self.events / stack).mkdir(parents=True)
            seed = f"{self.seed}/{stack}"
            self.users[stack] = Users(seed, sessions, self.scenario.behaviour(LAUNCH))
            self.sources[stack] = JsonLines([str(self.events / stack / "*.jsonl")])
        self.reader = observe.Reader(
            self.git,
            EcsLiveState(lambda service, region: self.aws.client(service)),
            lambda stack, policy: self.sources[stack],
        )
        for stack in SESSIONS_A_DAY:
            self._up(stack)

    def _forge(self) -> LocalForge:
        return LocalForge(self.git, actor="pilot", now=lambda: self.now)

    def _next_look(self) -> datetime:
        """When the next pass is made: soon after something happened, else when the controller said it would look."""
        since_fault = self.now - self._fault_at
        near = self.thinking or timedelta(0) <= since_fault < timedelta(hours=1)
        pace = CLOSE if near else RECENT if self.now - self.stirred < timedelta(hours=3) else AT_MOST
        waits = [outcome.decision.next_check - self.now for outcome in self.last.values() if outcome.decision]
        timed = [wait for wait in waits if wait > CHECK_AGAIN]  # only time must pass
        if timed and not near:
            pace = min(*timed, AT_MOST)
        return min([self.now + pace, *(at for at in (READY, LAUNCH, self._fault_at) if at > self.now)])

    def _advance(self, until: datetime) -> None:
        """Let time pass, with users using what is live."""
        for stack, users in self.users.items():
            if stack == "staging" and self.apps[stack].percent == 100 and self.now > self.tested:
                continue
            lines = list(users.between(self.now, until, self.apps[stack]))
            silent = self.scenario.silent and stack == "prod" and self._fault_on()
            if lines and not silent:
                file = self.events / stack / f"{self.now:%Y%m%dT%H%M}.jsonl"
                file.write_text("\n".join(lines) + "\n")
        self.now = self.aws.now = until
        if until in (LAUNCH, self._fault_at):
            self.stirred = until

    @property
    def _fault_at(self) -> datetime:
        return LAUNCH + min(self.scenario.after, timedelta(days=365))

    def _fault_on(self) -> bool:
        return self.now >= self._fault_at

    # ------------------------------------------------------------ the controller

    def _pass(self) -> None:
        self.passes += 1
        for outcome in loop.reconcile(self.reader, self.forge, now=self.now):
            if outcome.error is not None:
                raise outcome.error
            assert outcome.decision is not None
            before = self.last.get(outcome.stack)
            self.last[outcome.stack] = outcome
            for action in outcome.actions:
                self._tell(f"{outcome.stack}: {action}")
            if outcome.stack == "prod" and (before is None or _kind(before) != _kind(outcome)):
                text = f"{outcome.stack}: {outcome.decision.verdict}, {outcome.decision.reasons[0]}"
                self.beats.append(Beat(self.now, text))

    # ------------------------------------------------------------ the people

    def _people(self) -> None:
        self.thinking = False
        self._operator()
        for pr in self.forge.pull_requests("rollout/"):
            if pr.state is PrState.OPEN and pr.check and pr.check[0] is CheckState.SUCCESS:
                self._engineer(pr)
        if self._fault_on() and not self.acted:
            if self.scenario.person is Person.REVERTS:
                self._git_revert("prod", 20)
            if self.scenario.legal:
                self.acted = True
                self.users["prod"].report(
                    self.now, "legal_review", severity="critical", finding="fabricated", packet="p7"
                )
                self._tell("a legal reviewer reports a critical defect")

    def _operator(self) -> None:
        """Make the preflight from an hour before the launch on, whenever nothing but that is missing."""
        decision = self.last["prod"].decision
        if self.now < READY or decision is None or "run pilot preflight" not in decision.reasons[0]:
            return
        self._preflight()
        self.thinking = True

    def _preflight(self) -> Readiness:
        means = preflight.Means(
            reader=self.reader,
            forge=self.forge,
            way_back=lambda declared: preflight.way_back(self._glass(declared)),
            perform=lambda check: CheckResult(check.title, True, "simulated", 0.0),
            channels=lambda policy: (),
        )
        found = preflight.make(means, stack="prod", now=self.now, by=OPERATOR).found
        said = f"failed: {found.failed[0].title}: {found.failed[0].words}" if found.failed else "passed"
        self._tell(f"{OPERATOR} runs pilot preflight --stack prod: {len(found.items)} checks, {said}")
        return found

    def _glass(self, declared: Declared) -> BreakGlass:
        service = declared.service
        return BreakGlass(lambda name, _: self.aws.client(name), Place(service.cluster, service.name, declared.region))

    def _engineer(self, pr: PullRequest) -> None:
        _, stack, rest = pr.branch.split("/")
        urgent = not rest.startswith("advance")
        first = stack == "prod" and self.apps["prod"].percent == 0
        if not urgent and (self.now - pr.created < THINKING or (first and self.now < LAUNCH)):
            self.thinking = self.thinking or self.now - pr.created < THINKING
            return
        if self.scenario.person is Person.CLOSES and pr.title.endswith("10% -> 20%"):
            self.forge.close_by_person(pr.number, OPERATOR, self.now)
            self._tell(f"{OPERATOR} closes #{pr.number} unmerged")
            return
        self.forge.merge_by_person(pr.number, by=ENGINEER, at=self.now)
        self._tell(f"{ENGINEER} merges #{pr.number} {pr.title}")
        if self.scenario.person is Person.FORGETS and stack == "prod" and "20%" in pr.title:
            return
        self._up(stack)

    def _git_revert(self, stack: str, percent: int) -> None:
        """What a person does by hand: `git revert` of the commit that advanced, and push."""
        step = observe.past(self.git, self.git.sync(), stack).raised_to(percent)
        if step is None:
            return
        self.acted = True
        self._git("pull", "--quiet", "--ff-only", "origin", "main")
        self._git("revert", "--no-edit", step.commit.oid, by=OPERATOR)
        self._git("push", "--quiet", "origin", "main")
        self._tell(f"{OPERATOR} runs git revert {step.commit.oid[:8]}")
        self._up(stack)

    def _up(self, stack: str, *, refresh: bool = False) -> None:
        tip = self.git.sync()
        project, file = (self.git.read(tip, name) for name in ("Pulumi.yaml", observe.stack_file(stack)))
        assert project is not None
        assert file is not None
        applied = self.applier.up(stack, project, file, refresh=refresh)
        self.aws.settle()
        live = self._live(stack)
        assert isinstance(live, Live), live
        self.apps[stack] = App(live.percent, dict(live.flags))
        done = {op: count for op, count in applied.changes.items() if op != "same"}
        told = ", ".join(f"{op} {count}" for op, count in done.items()) or "no changes"
        self._tell(f"pulumi up {'--refresh ' if refresh else ''}--stack {stack}: {told}; {live.percent} % live")

    # ------------------------------------------------------------ looking

    def _declared(self, stack: str) -> Declared:
        name = observe.stack_file(stack)
        data = self.git.read(self.git.sync(), name)
        assert data is not None
        return stackfile.read(data, name=name)

    def _live(self, stack: str) -> Live | Unreadable:
        declared = self._declared(stack)
        return self.reader.live.read(declared.service, declared.rollout.exposure, declared.region)

    def _tell(self, text: str) -> None:
        """Note what happened; whoever watches looks closely for a while after it."""
        self.stirred = self.now
        self.beats.append(Beat(self.now, text))

    def _story(self) -> Story:
        prs = tuple(self.forge.pull_requests("rollout/prod/"))
        declared, outcome, runs = self._declared("prod"), self.last["prod"], self._live("prod")
        found = End(
            declared=declared.rollout.percent,
            live=runs.percent if isinstance(runs, Live) else None,
            merged=tuple(pr.title for pr in prs if pr.state is PrState.MERGED),
            says=outcome.decision.reasons[0] if outcome.decision else "",
            flags=tuple(declared.rollout.flags.items()),
        )
        log = self._run("git", "log", "--first-parent", "--format=%h %s", "main", cwd=self.remote)
        return Story(
            self.scenario.name, tuple(self.beats), prs, tuple(log.splitlines()), self.passes,
            found.declared, found.live, found.says, self.scenario.end.unlike(found),
        )  # fmt: skip

    # ------------------------------------------------------------ git as a person uses it

    def _git(self, *args: str, by: str = ENGINEER) -> str:
        return self._run("git", *args, cwd=self.checkout, by=by)

    def _run(self, *command: str, cwd: Path | None = None, by: str = ENGINEER) -> str:
        email = by.split()[0].lower() + "@example.com"
        stamp = f"{int(self.now.timestamp())} +0000"
        environment = {
            "PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": by, "GIT_AUTHOR_EMAIL": email, "GIT_AUTHOR_DATE": stamp,
            "GIT_COMMITTER_NAME": by, "GIT_COMMITTER_EMAIL": email, "GIT_COMMITTER_DATE": stamp,
        }  # fmt: skip
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


def _local(stack_file: str, network: Mapping[str, Any]) -> str:
    """Put the stack into the local AWS: in its *network*, by plain HTTP, without what no rollout depends on."""
    kept = re.sub(_LEFT_OUT, "", stack_file).rstrip("\n")
    ingress = {"insecureHttp": True, "accessLogDays": 0}
    return f"{kept}\n  pilot:network: {json.dumps(network)}\n  pilot:ingress: {json.dumps(ingress)}\n"


def _kind(outcome: loop.Outcome) -> tuple[Verdict, str]:
    """What makes two decisions the same news: the verdict and the kind of its reason, whichever KPI it names."""
    assert outcome.decision is not None
    words = outcome.decision.reasons[0].split(":")[0].split(" fired")[0]
    known = (*outcome.decision.evidence.kpis, *outcome.decision.triggers)
    return outcome.decision.verdict, "evidence" if words in known else words
