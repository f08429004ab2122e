"""
An incident's folder as text: what is known when it is opened, and the gaps for people to fill in. Pure.

`incident.json` and `timeline.md` are the controller's; `README.md` is written once and then people's.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from controller.history import History
from controller.messages.announcements import instant, issue, plain, resolved, spoken
from controller.messages.markdown import escape
from controller.model import Announcement, Decision, Event, News
from controller.policy.operations import Operations, Severity

PREFIX = "incident/"
STATE, REPORT, TIMELINE, AFFECTED, DECISION = (
    "incident.json", "README.md", "timeline.md", "affected.csv", "decision.json",
)  # fmt: skip
_ATTRIBUTES = ("user", "packet")


@dataclass(frozen=True, slots=True)
class Update:
    """What was known at one time; `by` says who wrote it."""

    at: datetime
    by: str
    text: str


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident; the first update opens it, and one that `ends` it is the last."""

    id: str
    stack: str
    severity: str
    title: str
    updates: tuple[Update, ...]
    rolling_back: bool = False
    ended: bool = False

    @property
    def branch(self) -> str:
        return f"{PREFIX}{self.stack}/{self.id}"

    def due(self, severity: Severity) -> datetime | None:
        """When the next word is due; None after the end."""
        return None if self.ended else self.updates[-1].at + severity.respond


def ident(title: str, at: datetime) -> str:
    """The day, and the title's first words as a name may hold them."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-")
    return f"{at:%Y-%m-%d}-{slug or 'incident'}"


def folder(stack: str, ident_: str) -> str:
    return f"incidents/{stack}/{ident_}"


def render(incident: Incident) -> bytes:
    return (json.dumps(asdict(incident), indent=2, default=datetime.isoformat, ensure_ascii=False) + "\n").encode()


def parse(data: bytes) -> Incident:
    """
    Raises:
        ValueError, TypeError, KeyError: *data* is not what `render` writes.
    """
    fields = json.loads(data)
    updates = tuple(Update(datetime.fromisoformat(one["at"]), one["by"], one["text"]) for one in fields["updates"])
    return Incident(**{**fields, "updates": updates})


def report(incident: Incident, severity: Severity, decision: Decision, affected: Sequence[Event] | str) -> bytes:
    """The report's beginning; *affected* is a sentence where the events could not be read."""
    first = incident.updates[0]
    known = affected if isinstance(affected, str) else f"{_counts(affected)} ([{AFFECTED}]({AFFECTED}))"
    box = " " if isinstance(affected, str) else "x"
    text = f"""# {incident.severity}: {escape(incident.title)}

| | |
|---|---|
| stack | {incident.stack}, declared {decision.from_percent} % of users |
| severity | {incident.severity}: {escape(", ".join(severity.when))}; a word every {spoken(severity.respond)} |
| opened | {instant(first.at)} by {escape(first.by)} |
| the controller then | {decision.verdict}: {escape(decision.reasons[0])} |
| affected | {escape(known) if isinstance(affected, str) else known} |

What happened when is in [{TIMELINE}]({TIMELINE}), all that the controller knew in [{DECISION}]({DECISION}).

## Summary

_What users met, from when to when, in two sentences._

## Root cause

_What made it possible, and why nothing stopped it earlier._

## Remediation

_What was changed, and how it is known to hold._

## Preventive action

- [ ] _action_; owner: _name_; due: _date_; in the backlog: _link_

## Post-incident checklist

- [x] Save logs + timestamps
- [{box}] Record affected packets/users
- [ ] Complete root-cause summary
- [ ] Add preventive action item to backlog
- [ ] Re-run pilot readiness checklist before relaunch: `pilot preflight --stack {incident.stack}`

Merging this report closes the incident. Until then nothing is advanced in {incident.stack}.
"""
    return text.encode()


def timeline(incident: Incident, past: History) -> bytes:
    """What happened when: the commits of the week before, then what people wrote."""
    since = incident.updates[0].at.timestamp() - 7 * 86_400
    commits = [step.commit for step in past.steps if step.commit.time.timestamp() >= since]
    lines = [(commit.time, f"`{commit.oid[:8]}` {escape(commit.subject)} ({escape(commit.by)})") for commit in commits]
    lines += [(update.at, f"{escape(update.by)}: {escape(update.text)}") for update in incident.updates]
    text = "\n".join(f"- {instant(at)} {words}" for at, words in sorted(lines, key=lambda line: line[0]))
    return f"# Timeline\n\n{text}\n".encode()


def table(affected: Iterable[Event]) -> bytes:
    """*affected* for a spreadsheet; a value that one would take for a formula gets a quote before it."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["time", "type", *_ATTRIBUTES, "id", "attributes"])
    for event in affected:
        rest = {name: value for name, value in sorted(event.attributes.items()) if name not in _ATTRIBUTES}
        values = [*(event.attributes.get(name, "") for name in _ATTRIBUTES), event.id, json.dumps(rest)]
        cells = [event.ts.isoformat(), event.type, *values]
        rows.writerow([f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell for cell in cells])
    return out.getvalue().encode(errors="replace")


def _counts(affected: Sequence[Event]) -> str:
    named = [len({event.attributes[name] for event in affected if name in event.attributes}) for name in _ATTRIBUTES]
    pairs = zip((len(affected), *named), ("event", "user", "packet"), strict=True)
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in pairs)


# ---------------------------------------------------------------- what people are told


def opened(incident: Incident, severity: Severity) -> Announcement:
    first = incident.updates[0]
    text = issue(incident.title, severity.respond, at=first.at, rolling_back=incident.rolling_back)
    return Announcement(
        News.INCIDENT, f"{incident.severity} incident in {incident.stack}: {plain(incident.title)}", text
    )


def updated(incident: Incident, severity: Severity) -> Announcement:
    """The last update."""
    last = incident.updates[-1]
    return Announcement(
        News.INCIDENT,
        f"{incident.severity} incident in {incident.stack}, update: {plain(incident.title)}",
        f"{instant(last.at)}, {plain(last.by)}: {plain(last.text)}\nNext update in {spoken(severity.respond)}.",
    )


def ended(incident: Incident, operations: Operations) -> Announcement:
    """The last update ended it."""
    last = incident.updates[-1]
    text = resolved(operations, at=last.at, rolled_back=incident.rolling_back)
    return Announcement(
        News.INCIDENT,
        f"{incident.severity} incident in {incident.stack} resolved: {plain(incident.title)}",
        f"{text}\n{plain(last.by)}: {plain(last.text)}",
    )


def with_update(incident: Incident, update: Update, *, ends: bool = False) -> Incident:
    return replace(incident, updates=(*incident.updates, update), ended=incident.ended or ends)
