"""The incident of the runbooks: rolled back, told, recorded, and what mends it made ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from controller import observe
from controller import rollback as way_back
from controller.errors import ConfigError
from controller.launch import incidents
from controller.launch import rollback as procedure
from controller.messages.incident import AFFECTED, REPORT, TIMELINE, folder
from controller.model import Announcement, CheckResult, News, Verdict
from controller.ports import PullRequest
from controller.rehearsal.on_day import OnDay
from controller.rehearsal.play import ENGINEER, LAUNCH, OPERATOR, Play

FIXED = "c" * 64  # the digest of the image that mends the defect


@dataclass
class Incident(OnDay):
    """A defect five hours after the launch: the rollback, the incident's record, and the launch of what mends it."""

    policy: ClassVar[tuple[tuple[str, str], ...]] = Play.policy
    tested: ClassVar[datetime] = datetime.max.replace(tzinfo=LAUNCH.tzinfo)
    stopped: datetime | None = None
    name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        day = LAUNCH.replace(hour=0)
        self.agenda = [
            (day + timedelta(hours=15, minutes=10), self._update),
            (day + timedelta(hours=16), self._resolve),
            (day + timedelta(days=1, hours=9), self._refused),
            (day + timedelta(days=1, hours=10), self._report),
            (day + timedelta(days=1, hours=11), self._mend),
            (day + timedelta(days=1, hours=16), self._again),
        ]

    def _people(self) -> None:
        decision = self.last["prod"].decision
        if self.stopped is None and decision is not None and decision.verdict is Verdict.REVERT:
            self._roll_back()
        super()._people()

    def _operator(self) -> None:
        if self.stopped is None:  # the other one is on the agenda
            super()._operator()

    def _engineer(self, pr: PullRequest) -> None:
        if self.now != self.stopped:  # it is rolled back in AWS first
            super()._engineer(pr)

    def _heard(self, address: str, news: Announcement) -> str | None:
        super()._heard(address, news)
        if news.kind is News.REVERT and "proposed" in news.title:
            self._tick("legal_defect fired" in news.text, "3. Any critical legal defect")
        if news.kind is News.INCIDENT and "resolved" in news.title:
            self._tick("Service stable" in news.text, "Resolved")
        if news.kind is News.ROLLBACK and "Rollback started, ETA 15 minutes." in news.text:
            self._tick(True, '2. Notify channel: "Rollback started, ETA 15 minutes."')
        return None

    def _roll_back(self) -> None:
        opened = incidents.open_(
            self.reader, self.forge, self._notifier, stack="prod", severity="P0", title="fabricated finding in p7",
            by=OPERATOR, since=timedelta(days=1), now=self.now,
        )  # fmt: skip
        self.name = f"prod/{opened.incident.id}"
        self._read(
            f'{OPERATOR} runs pilot incident open --stack prod --severity P0 --title "{opened.incident.title}"',
            opened.lines,
        )
        self._tick(opened.incident.rolling_back, "Incident", "P0, P1, P2 with their response times")
        asked = procedure.Asked("prod", "fabricated finding in p7", OPERATOR)
        self._tell(f'{OPERATOR} runs pilot rollback --stack prod --reason "{asked.reason}"')
        steps = []
        for line in procedure.rollback(asked, self._means(asked)):
            self._tell(f"[{line.step}/7] {line.words}" if line.step else line.words)
            steps.append(line)
        told_ = {step: [line.words for line in steps if line.step == step] for step in range(1, 8)}
        declared = self._declared("prod")
        live = self.reader.live.read(declared.service, declared.rollout.exposure, declared.region)
        self._tick(live.stop is not None and bool(told_[1]), "Start rollback immediately", "1. Pause pilot user intake")
        self._tick("serves" in told_[3][-1], "3. ECS to the previous task definition")
        self._tick(len(told_[4]) == 1, "4. Verify health")
        self._tick(len(told_[5]) == 4, "5. Confirm app workflow: sign in, upload, run, export")
        self._tick("Rollback complete" in told_[6][0], "6. Send status update")
        try:
            self._up("prod")
        except ConfigError as error:
            self._tell(f"pulumi up --stack prod is refused: {error}")
        else:
            self.missed.append("pulumi up undid the stop")
        self.stopped = self.now

    def _means(self, asked: procedure.Asked) -> procedure.Means:
        def git(percent: int, lines: Sequence[str]) -> Sequence[str]:
            return way_back.rollback(
                self.git, self.forge, stack=asked.stack, to=percent, reason=asked.reason, by=asked.by, now=self.now,
                paused=True, notes=lines,
            ).lines  # fmt: skip

        sight = observe.look(self.git)
        return procedure.Means(
            glass=self._glass(self._declared("prod")),
            operations=sight.policy.operations,
            notifier=self._notifier(sight.policy),
            perform=lambda check: CheckResult(check.title, True, "simulated", 0.0),
            confirm=lambda way: True,
            git=git,
            now=lambda: self.now,
            wait=self._wait,
        )

    # ------------------------------------------------------------ afterwards

    def _update(self) -> None:
        self._said("update", "p7 is withdrawn; the firm is told", ends=False)

    def _resolve(self) -> None:
        self._said("resolve", "nobody is in the pilot; cases are paused", ends=True)

    def _said(self, what: str, words: str, *, ends: bool) -> None:
        done = incidents.update(
            self.git, self.forge, self._notifier, name=self.name, words=words, by=OPERATOR, now=self.now, ends=ends
        )
        self._read(f'{OPERATOR} runs pilot incident {what} {self.name} --text "{words}"', done.lines)

    def _refused(self) -> None:
        """Nothing is let in again before the report is merged, the release is another, and a preflight has passed."""
        decision = self.last["prod"].decision
        assert decision is not None
        self._read("what the controller waits for:", decision.reasons)
        if not any("run pilot preflight --stack prod" in reason for reason in decision.reasons):
            self.missed.append("a relaunch takes another preflight")

    def _report(self) -> None:
        stack, ident = self.name.split("/")
        below, branch = folder(stack, ident), f"incident/{self.name}"
        head = self.git.branches(branch)[branch]
        timeline, affected, report = (self.git.read(head, f"{below}/{name}") for name in (TIMELINE, AFFECTED, REPORT))
        assert timeline is not None
        assert affected is not None
        assert report is not None
        self._read(f"{below}/{TIMELINE}", timeline.decode().splitlines())
        self._read(f"{below}/{AFFECTED}", affected.decode().splitlines())
        self._tick(b"legal_review" in affected and b"p7" in affected, "2. Record affected packets/users")
        self._tick(b"p7 is withdrawn" in timeline and b"(revert)" in timeline, "1. Save logs + timestamps")
        self._tick(b"## Root cause" in report, "3. Complete root-cause summary")
        self._tick(b"## Preventive action" in report, "4. Add preventive action item to backlog")
        (pr,) = self.forge.pull_requests("incident/")
        self._merge(pr, None)

    def _mend(self) -> None:
        old = self._declared("prod").service.image.rpartition(":")[2]
        for stack in ("staging", "prod"):
            edits = [(f"Pulumi.{stack}.yaml", old, FIXED)]
            if stack == "prod":
                edits.append(("Pulumi.prod.yaml", "intake: paused", "intake: open"))
            self._commit(f"Release what mends p7 to {stack}", *edits, by=ENGINEER)
            self._up(stack)

    def _again(self) -> None:
        found = self._preflight()
        self._tick(not found.failed, "5. Re-run pilot readiness checklist before relaunch")
