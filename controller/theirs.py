"""What a pass makes of pull requests of ours that a person has made theirs: it leaves them, and lets no green lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.branches import Branches
from controller.effects import Effects
from controller.messages import proposals
from controller.messages.proposals import Proposal
from controller.model import Verdict
from controller.ports import CheckState, PullRequest

HANDS_OFF = "This branch was edited by a person; it is theirs now, and the controller leaves it alone."


@dataclass(frozen=True, slots=True)
class Theirs:
    """Those of one stack, judged by what *branches* hold and dealt with by *effects*."""

    branches: Branches
    effects: Effects

    def revert_from(self, percent: int, prs: Sequence[PullRequest]) -> int | None:
        """The number of the first of *prs* that is an open revert from *percent*."""
        return next((pr.number for pr in prs if self.branches.named(pr) == (Verdict.REVERT, percent)), None)

    def hands_off(self, pr: PullRequest) -> None:
        """
        Leave an edited branch to the person, and say so once.

        Its check does not stand in the person's way, except where it would speak for what was not judged: a percent
        above the base's, or whatever the forge was told to merge before the edit.
        """
        forge = self.effects.forge
        if pr.queued:
            return
        if not any(HANDS_OFF in comment for comment in pr.comments):
            said = f"left #{pr.number} to the person who edited its branch"
            self.effects.do(said, lambda: forge.comment(pr.number, HANDS_OFF))
        state, why = CheckState.SUCCESS, "a person edited this branch; it is theirs to merge"
        if pr.armed:
            state, why = CheckState.FAILURE, "edited by a person after it was armed: disarm it, or close it"
        elif self.branches.raises(pr.head):
            state, why = CheckState.FAILURE, "edited by a person and raises the percent: not judged"
        if not self.effects.dry_run and (pr.check is None or pr.check[0] is not state):
            forge.check(pr.head, state, why)

    def lost(self, pr: PullRequest, wanted: Proposal | None) -> None:
        """Judge an advance whose text no longer says what it proposes by its branch: it must not stay green."""
        if (self.branches.named(pr) or (None,))[0] is not Verdict.ADVANCE:
            return
        good = wanted is not None and proposals.branch(wanted) == pr.branch and self.branches.is_ours(pr, wanted)
        self.effects.check(pr, CheckState.SUCCESS if good else CheckState.FAILURE)
