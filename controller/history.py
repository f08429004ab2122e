"""
What a stack file's history in Git says of the release: pure functions of its commits.

A commit with the trailer `Rollout-Id` was proposed by the controller, whoever merged it; any other is a person's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from controller.model import Commit, Declared


@dataclass(frozen=True, slots=True)
class Step:
    """One commit with the values before and after it; `before` is None where the file began."""

    commit: Commit
    before: Declared | None
    after: Declared

    @property
    def by_person(self) -> bool:
        """Whether a person had a word on the stage; who is in the cohort is none, whoever wrote it."""
        if self.commit.rollout_id is not None:
            return False
        if self.before is None:
            return True
        same_cohort = replace(self.before.rollout, cohort=self.after.rollout.cohort)
        return replace(self.before, rollout=same_cohort) != self.after

    @property
    def lowers(self) -> bool:
        return self.before is not None and self.after.rollout.percent < self.before.rollout.percent

    @property
    def raises(self) -> bool:
        return self.before is not None and self.after.rollout.percent > self.before.rollout.percent

    @property
    def restarts(self) -> bool:
        """Whether earlier evidence says nothing of what runs after it: other code, flags, fewer users, a start."""
        if self.before is None:
            return True
        return (
            self.lowers
            or (self.raises and self.before.rollout.percent == 0)
            or self.before.service.image != self.after.service.image
            or self.before.service.candidate_image != self.after.service.candidate_image
            or self.before.rollout.flags != self.after.rollout.flags
        )


@dataclass(frozen=True, slots=True)
class History:
    """
    The steps of one stack file, newest first.

    `epoch` is when the evidence of this release begins. `restarted` says whether no raise followed that step: then what
    came before it became live belongs to something else.
    """

    steps: tuple[Step, ...]

    @classmethod
    def of(cls, commits: Sequence[Commit]) -> History:
        """
        The steps among *commits* (newest first), those that changed a value.

        One whose file could not be read is passed over.
        """
        readable = [commit for commit in commits if commit.declared is not None]
        steps = []
        for index, commit in enumerate(readable):
            before = readable[index + 1].declared if index + 1 < len(readable) else None
            assert commit.declared is not None
            if before != commit.declared:
                steps.append(Step(commit, before, commit.declared))
        return cls(tuple(steps))

    @property
    def epoch(self) -> datetime | None:
        return next((step.commit.time for step in self.steps if step.restarts), None)

    @property
    def restarted(self) -> bool:
        for step in self.steps:
            if step.restarts or step.raises:
                return step.restarts
        return False

    @property
    def lowering(self) -> Step | None:
        """The newest step that lowered the percent."""
        return next((step for step in self.steps if step.lowers), None)

    @property
    def person(self) -> Step | None:
        """The newest step that a person made."""
        return next((step for step in self.steps if step.by_person), None)

    @property
    def rolled_back(self) -> Step | None:
        """The newest step that lowered the percent, unless a person has changed a value since."""
        for step in self.steps:
            if step.lowers:
                return step
            if step.by_person:
                return None
        return None

    @property
    def reverts(self) -> int:
        """How often the controller's pull requests lowered the percent since a person last changed the file."""
        count = 0
        for step in self.steps:
            if step.by_person:
                break
            count += step.lowers
        return count

    def raised_to(self, percent: int) -> Step | None:
        """The step that brought the percent up to *percent*, if the latest change of the percent did so."""
        for step in self.steps:
            if step.raises or step.lowers:
                return step if step.raises and step.after.rollout.percent == percent else None
        return None
