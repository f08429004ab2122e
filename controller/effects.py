"""What a pass does to the forge: each thing tried for itself, and told once it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

from controller.messages import pull_request
from controller.model import Decision
from controller.ports import CheckState, Forge, PullRequest

P = ParamSpec("P")
T = TypeVar("T")


class Effects:
    """
    What is done on *forge* for one *decision*, in words in `actions`, and what failed, in `errors`.

    `why` is the reason that is given; the decision's first, unless a later finding outweighs it. With *dry_run* nothing
    is written, and `actions` say what would have been.
    """

    def __init__(self, forge: Forge, decision: Decision, *, dry_run: bool) -> None:
        self.forge, self.decision, self.dry_run = forge, decision, dry_run
        self.why = decision.reasons[0]
        self.actions: list[str] = []
        self.errors: list[Exception] = []

    def attempt(self, step: Callable[P, T], *args: P.args, **options: P.kwargs) -> T | None:
        """The value of *step*, or None where it fails: then the next one is tried all the same."""
        try:
            return step(*args, **options)
        except Exception as error:  # also a bug met in one step; it is told, and the others go on
            self.errors.append(error)
            return None

    def do(self, done: str, *effects: Callable[[], object]) -> None:
        """Do it and, where nothing of it failed, note it as *done*."""
        if not self.dry_run:
            for effect in effects:
                effect()
        self.actions.append(f"would have {done}" if self.dry_run else done)

    def check(self, pr: PullRequest, state: CheckState) -> None:
        """
        Report the status check of *pr* where its state changes.

        Yesterday's approval of an advance must not merge today's bad news; nothing blocks a revert.
        """
        if pr.check is not None and pr.check[0] is state:
            return
        why = f", {self.why}" if state is CheckState.FAILURE else ""
        said = replace(self.decision, reasons=(self.why,))
        self.do(
            f"set rollout/evidence of #{pr.number} to {state}{why}",
            lambda: self.forge.check(pr.head, state, pull_request.check_description(said)),
        )
