"""
The days of the two runbooks, played: each line is ticked by what the product found, did or told, never by the script.

What a rehearsal adds to the rest of the play: a CI that is green, a channel that is heard here, and people who work
through the launch card.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar

from controller.forges.local import LocalForge
from controller.launch import watch
from controller.launch.news import told
from controller.messages.board import Board, screen
from controller.model import Announcement
from controller.notify.told import Teller
from controller.policy import Policy
from controller.ports import Ci, CiState, PullRequest
from controller.rehearsal.play import ENGINEER, NAMED, OPERATOR, Play, Story

PACE = timedelta(minutes=5)  # a production controller's, kept after something happened


class _WithCi(LocalForge):
    def ci(self, oid: str, *, without: Collection[str] = ()) -> Ci:
        return Ci(CiState.GREEN, "all jobs are green (simulated)")


@dataclass
class OnDay(Play):
    """A play with an agenda: what people do at their times, each once, after the pass that is made then."""

    policy: ClassVar[tuple[tuple[str, str], ...]] = NAMED
    agenda: list[tuple[datetime, Callable[[], None]]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def _forge(self) -> LocalForge:
        return _WithCi(self.git, actor="pilot", now=lambda: self.now)

    def _notifier(self, policy: Policy) -> Teller:
        channels = policy.operations.channels
        addresses = {channel.url_from: name for name, channel in channels.items()}
        return Teller(self.git, channels, environment=addresses, now=lambda: self.now, send=self._heard)

    def _heard(self, address: str, news: Announcement) -> str | None:
        self._tell(f"#{address}: {news.title}\n{news.text}")
        return None

    def _pass(self) -> None:
        super()._pass()
        for outcome in self.last.values():
            done = told(outcome, self._notifier, self.reader.source)
            if done.error is not None:
                raise done.error

    def _people(self) -> None:
        while self.agenda and self.agenda[0][0] <= self.now:
            self.agenda.pop(0)[1]()
        super()._people()

    def _next_look(self) -> datetime:
        busy = [self.now + PACE] if self.now - self.stirred < PACE else []
        return min([super()._next_look(), *busy, *(at for at, _ in self.agenda[:1])])

    def _story(self) -> Story:
        story = super()._story()
        return replace(story, wrong=(*story.wrong, *(f"not ticked: {line}" for line in self.missed)))

    # ------------------------------------------------------------ what people read and do

    def _tick(self, ok: bool, *lines: str) -> None:
        """Tick *lines* of the runbooks, in the words of docs/runbook.md, where the product has shown them to be so."""
        self.missed += [] if ok else lines
        self._tell("\n".join(f"[{'x' if ok else ' '}] {line}" for line in lines))

    def _read(self, title: str, lines: Iterable[str]) -> None:
        self._tell("\n".join([title, *lines]))

    def _watch(self) -> Board:
        board = watch.look(self.reader, self.forge, stack="prod", now=self.now)
        lines = [line.plain for line in screen(board)]
        self._read(f"{OPERATOR} looks at pilot watch --stack prod", lines)
        return board

    def _wait(self, length: timedelta) -> None:
        self._advance(self.now + length)
        self.aws.settle()

    def _merge(self, pr: PullRequest, stack: str | None) -> None:
        self.forge.merge_by_person(pr.number, by=ENGINEER, at=self.now)
        self._tell(f"{ENGINEER} merges #{pr.number} {pr.title}")
        if stack:
            self._up(stack)

    def _commit(self, message: str, *edits: tuple[str, str, str], by: str = OPERATOR) -> None:
        """Replace in files, each a name with what stands there and what shall; commit and push."""
        self._git("pull", "--quiet", "--ff-only", "origin", "main")
        for name, old, new in edits:
            path = self.checkout / name
            text = path.read_text()
            assert old in text, (name, old)
            path.write_text(text.replace(old, new))
        self._git("commit", "--quiet", "--all", "--message", message, by=by)
        self._git("push", "--quiet", "origin", "HEAD:main")
        self._tell(f"{by} commits: {message}")
