"""
A world for crash and race tests: one stack at 20 %, a forge, and the people around it.

`LocalWorld` is the local forge on `Git`s that its caller makes. Another forge joins by a class with the same methods:
`controller` gives a fresh process's view of the world, the acts are a person's, `pulls` and `heads` are the truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from controller import observe, stackfile
from controller.forges.git import Git
from controller.forges.local import LocalForge
from controller.model import Deployment, Live
from controller.ports import Forge, PrState, PullRequest, RefUpdate
from tests.facts import ROOT
from tests.memory import by_hand, commit_on
from tests.world import BEGIN, AppliedLive, ScriptedSource

FILE_NAME = "Pulumi.prod.yaml"
POLICY = """
stages: [{percent: 0}, {percent: 10, bake: 1h}, {percent: 20, bake: 5d}, {percent: 50, bake: 7d}, {percent: 100}]
risk: {false_revert: 1%, false_advance: 5%}
source: {kind: files, paths: [none]}
kpis:
  mic_grant:
    title: Mic grant
    rate: {event: mic_prompt, good: {outcome: granted}}
    target: ">= 85%"
    warning: "< 80%"
    weight: 0
  activation:
    title: Activation
    rate: {event: activation, within: 30m}
    target: ">= 40%"
    warning: "< 35%"
triggers:
  legal_defect: {any: {event: legal_review, severity: critical}, then: rollback}
  mic_dip: {kpi: mic_grant, below_control: 10%, then: {set: flags.micPrompt, to: native}}
flags: {micPrompt: [primer, native]}
"""


class ForgeWorld(Protocol):
    """What a forge must bring to be crashed, raced and met by people."""

    now: datetime
    source: ScriptedSource

    def controller(self) -> tuple[observe.Reader, Forge]: ...
    def merge(self, number: int) -> None: ...
    def close(self, number: int) -> None: ...
    def edit(self, number: int, *, title: str | None = None, body: str | None = None) -> None: ...
    def commit(self, branch: str, old: str, new: str) -> str: ...
    def delete(self, branch: str) -> None: ...
    def duplicate(self, number: int) -> None: ...
    def pulls(self) -> Sequence[PullRequest]: ...
    def heads(self) -> Mapping[str, str]: ...


class LocalWorld:
    """The local forge, with prod at 20 % for five days; *more* is added to the policy."""

    def __init__(self, git: Callable[[], Git], *, more: str = "") -> None:
        self.now = BEGIN
        self._make = git
        self._git = git()
        self.source = ScriptedSource()
        self.live = AppliedLive()
        text = (ROOT / FILE_NAME).read_text()
        by_hand(self._git, {FILE_NAME: text.encode(), "rollout.yaml": (POLICY + more).encode()}, "begin", self.now)
        for old, new in ((0, 10), (10, 20)):
            self.now += timedelta(days=1)
            trailer = f"rollout(prod): {old}% -> {new}%\n\nRollout-Id: 0123abc{new // 10}\n"
            self.commit("main", f"percent: {old} ", f"percent: {new} ", message=trailer)
        self.up()
        self.now += timedelta(days=5)

    # ------------------------------------------------------------ the controller

    def controller(self) -> tuple[observe.Reader, Forge]:
        git = self._make()
        forge = LocalForge(git, actor="pilot", now=lambda: self.now)
        return observe.Reader(git, self.live, lambda stack, policy: self.source), forge

    # ------------------------------------------------------------ people

    def merge(self, number: int) -> None:
        self._forge.merge_by_person(number, by="Ana", at=self.now)
        self.up()

    def close(self, number: int) -> None:
        self._forge.close_by_person(number, by="Ana", at=self.now)

    def edit(self, number: int, *, title: str | None = None, body: str | None = None) -> None:
        def changed(pull: PullRequest) -> PullRequest:
            return replace(pull, title=title or pull.title, body=body or pull.body)

        self._forge._change(number, "edit", changed, by="Ana")

    def commit(self, branch: str, old: str, new: str, *, message: str = "by hand") -> str:
        """Change the stack file on *branch* as a person does."""
        self._git.sync()
        data = self._git.read(self._git.branches(branch)[branch], FILE_NAME)
        assert data is not None
        assert old.encode() in data
        files = {FILE_NAME: data.replace(old.encode(), new.encode(), 1)}
        return by_hand(self._git, files, message, self.now, branch=branch)

    def delete(self, branch: str) -> None:
        self._git.fetch()
        head = self._git.branches(branch).get(branch)
        assert self._git.push([RefUpdate(f"refs/heads/{branch}", head, None)])

    def duplicate(self, number: int) -> None:
        """A second pull request of the same branch and body, which a forge without a lock on it may make."""
        pull = next(pull for pull in self.pulls() if pull.number == number)
        assert self._git.push([self._forge._saved(replace(pull, number=number + 1), "open", "pilot", self.now)])

    def up(self) -> None:
        """`pulumi up`."""
        data = self._git.read(self._git.sync(), FILE_NAME)
        assert data is not None
        said = stackfile.read(data, name=FILE_NAME)
        self.live.applied[said.service.cluster] = Live(
            said.rollout.percent, self.now, Deployment.COMPLETED, said.service.image,
            said.service.candidate_image, said.rollout.flags,
        )  # fmt: skip

    # ------------------------------------------------------------ the truth

    def pulls(self) -> Sequence[PullRequest]:
        return self._forge.pull_requests("")

    def heads(self) -> Mapping[str, str]:
        self._git.fetch()
        return self._git.branches("")

    # ------------------------------------------------------------ inside

    def committed(self, tip: str, files: Mapping[str, bytes | None], message: str) -> str:
        """A commit of Ana's on *tip*, in no branch yet."""
        return commit_on(self._git, tip, files, message, self.now)

    @property
    def _forge(self) -> LocalForge:
        return LocalForge(self._git, actor="pilot", now=lambda: self.now)


def summary(world: ForgeWorld) -> str:
    """
    What must be the same whatever happened on the way: base, branches and pull requests, one a line.

    Of an ended pull request not the check, which nobody reads there, nor its branch, which a process that dies between
    closing and deleting leaves behind; the next proposal of that name takes it.
    """
    pulls = world.pulls()
    live = {"main", *(pull.branch for pull in pulls if pull.state is PrState.OPEN)}
    lines = [f"{branch} {head}" for branch, head in sorted(world.heads().items()) if branch in live]
    for pull in pulls:
        check = pull.check if pull.state is PrState.OPEN else None
        shown = (pull.number, pull.state, pull.branch, pull.head, pull.title, check, pull.comments, pull.body)
        lines.append(json.dumps(shown, default=str))
    return "\n".join(lines)
