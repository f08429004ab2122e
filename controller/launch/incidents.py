"""
Incidents as branches: `incident/<stack>/<id>` holds the folder `incidents/<stack>/<id>/`, with a pull request that
engineers review. Merging that closes the incident; until then nothing is advanced in its stack.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from controller import decide, observe
from controller.errors import ConfigError, PilotError, TransientError
from controller.launch.affected import affected, queries
from controller.messages import incident as text
from controller.messages.data import decision_json
from controller.messages.incident import Incident, Update
from controller.messages.markdown import inert
from controller.model import Event, Verdict
from controller.policy import Policy
from controller.policy.operations import Severity
from controller.ports import CheckState, Forge, Notifier, RefUpdate, Repository

Notifiers = Callable[[Policy], Notifier]


@dataclass(frozen=True, slots=True)
class Told:
    """The incident as it is now, and what to tell the person who asked."""

    incident: Incident
    lines: tuple[str, ...]


def open_(
    reader: observe.Reader, forge: Forge, notifiers: Notifiers, *,
    stack: str, severity: str, title: str, by: str, since: timedelta, now: datetime,
) -> Told:  # fmt: skip
    """
    Open the incident, with what the controller knows now and the events of the time *since*, and tell people.

    Asking again on the same day with the same title goes on where it stopped, and tells nobody twice.

    Raises:
        ConfigError: no such stack or severity.
        TransientError: Git did not answer; asking again is safe. What the forge's API did not do is in the lines.
    """
    sight = observe.look(reader.repository)
    if stack not in sight.stacks:
        raise ConfigError(f"no Pulumi.{stack}.yaml; stacks here: {', '.join(sight.stacks)}")
    rule = _severity(sight.policy, severity)
    facts = observe.observe(reader, sight, stack, now=now)
    decision = decide.decide(facts)
    rolling_back = decision.verdict is Verdict.REVERT or facts.history.rolled_back is not None
    name = _free(reader.repository, sight.tip, stack, text.ident(title, now))
    new = Incident(name, stack, severity, title, (Update(now, by, f"opened: {title}"),), rolling_back)
    try:
        incident = _load(reader.repository, new.branch)
    except ConfigError:
        known = _affected(reader, facts, now - since, now)
        files = {
            text.STATE: text.render(new),
            text.REPORT: text.report(new, rule, decision, known),
            text.TIMELINE: text.timeline(new, facts.history),
            text.DECISION: json.dumps(decision_json(decision), indent=2).encode() + b"\n",
            text.AFFECTED: text.table([] if isinstance(known, str) else known),
        }
        _push(reader.repository, new, sight.tip, None, files, f"incident({stack}): {severity} {title}")
        incident = new
    lines = [f"{incident.branch} holds {text.folder(stack, incident.id)}/"]
    lines += _pull_request(reader.repository, forge, incident)
    lines += notifiers(sight.policy).tell(text.opened(incident, rule), key=f"{incident.branch}/0")
    due = incident.due(rule)
    again = f'pilot incident update {stack}/{incident.id} --text "..."'
    following = f"by {due:%H:%M} UTC, {again}" if due else "it is resolved; merge its report, or give another title"
    return Told(incident, (*lines, f"next: {following}"))


def update(
    repository: Repository, forge: Forge, notifiers: Notifiers, *,
    name: str, words: str, by: str, now: datetime, ends: bool = False,
) -> Told:  # fmt: skip
    """
    Add what is known now to the incident *name*, `stack/id`, and tell people; where it *ends*, that it is resolved.

    Raises:
        ConfigError: there is no such open incident.
        TransientError: Git did not answer, or somebody else wrote at once; ask again.
    """
    sight = observe.look(repository)
    branch = _branch(repository, name)
    incident = text.with_update(_load(repository, branch), Update(now, by, words), ends=ends)
    rule = _severity(sight.policy, incident.severity)
    head = repository.branches(branch)[branch]
    past = observe.past(repository, sight.tip, incident.stack)
    files = {text.STATE: text.render(incident), text.TIMELINE: text.timeline(incident, past)}
    _push(repository, incident, head, head, files, f"incident({incident.stack}): {'resolved' if ends else 'update'}")
    said = text.ended(incident, sight.policy.operations) if ends else text.updated(incident, rule)
    lines = _pull_request(repository, forge, incident)
    lines += notifiers(sight.policy).tell(said, key=f"{branch}/{len(incident.updates) - 1}")
    due = incident.due(rule)
    report = f"complete {text.folder(incident.stack, incident.id)}/{text.REPORT} on branch {branch}, and merge it"
    return Told(incident, (*lines, f"next: {f'an update by {due:%H:%M} UTC' if due else report}"))


def listed(repository: Repository) -> list[tuple[Incident, datetime | None]]:
    """The incidents that are not merged, with when their next word is due, oldest first."""
    sight = observe.look(repository)
    found = []
    for stack, names in sight.incidents.items():
        for name in names:
            with suppress(ConfigError):
                incident = _load(repository, f"{text.PREFIX}{stack}/{name}")
                found.append((incident, incident.due(_severity(sight.policy, incident.severity))))
    return sorted(found, key=lambda one: one[0].updates[0].at)


def _free(repository: Repository, tip: str, stack: str, name: str) -> str:
    """*name*, with a number where an incident of that name is over."""
    names = (name if n == 1 else f"{name}-{n}" for n in count(1))
    return next(one for one in names if repository.read(tip, f"{text.folder(stack, one)}/{text.STATE}") is None)


def _severity(policy: Policy, name: str) -> Severity:
    rules: Mapping[str, Severity] = policy.operations.severities  # type: ignore[assignment]
    if name not in rules:
        told = "; ".join(f"{known}: {', '.join(rule.when)}" for known, rule in rules.items())
        raise ConfigError(f"severity {name}: rollout.yaml knows {told or 'none; write operations.severities'}")
    return rules[name]


def _affected(reader: observe.Reader, facts: decide.Facts, start: datetime, end: datetime) -> list[Event] | str:
    asked = queries(facts)
    try:
        source = reader.source(facts.stack, facts.policy)
        return affected(asked, source.events({query.event for query in asked}, start, end))
    except PilotError as error:
        return f"not recorded, the events could not be read: {error}"


def _branch(repository: Repository, name: str) -> str:
    """The branch of the incident *name*, by its id alone where that is enough."""
    branches = repository.branches(text.PREFIX)
    found = [branch for branch in branches if branch.removeprefix(text.PREFIX) == name or branch.endswith(f"/{name}")]
    if len(found) == 1:
        return found[0]
    known = ", ".join(sorted(branch.removeprefix(text.PREFIX) for branch in found or branches))
    raise ConfigError(f"{'more than one' if found else 'no'} open incident {name}; there are: {known or 'none'}")


def _load(repository: Repository, branch: str) -> Incident:
    head = repository.branches(branch).get(branch)
    stack, _, name = branch.removeprefix(text.PREFIX).partition("/")
    path = f"{text.folder(stack, name)}/{text.STATE}"
    data = repository.read(head, path) if head else None
    if data is None:
        raise ConfigError(f"{branch}: there is no {path}; delete the branch if it is no incident's")
    try:
        return replace(text.parse(data), stack=stack, id=name)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{branch}: {path} cannot be read ({type(error).__name__}); restore it") from None


def _push(
    repository: Repository, incident: Incident, parent: str, old: str | None, files: Mapping[str, bytes], subject: str
) -> None:
    folder = text.folder(incident.stack, incident.id)
    below = {f"{folder}/{name}": data for name, data in files.items()}
    commit = repository.commit(parent, below, f"{inert(subject)}\n")
    if not repository.push([RefUpdate(f"refs/heads/{incident.branch}", old, commit)]):
        raise TransientError(f"{incident.branch} was written by somebody else at the same time; run it again")


def _pull_request(repository: Repository, forge: Forge, incident: Incident) -> list[str]:
    """Open its pull request, or find it; what the forge does not do now is said, and stops nothing."""
    head = repository.branches(incident.branch)[incident.branch]
    body = repository.read(head, f"{text.folder(incident.stack, incident.id)}/{text.REPORT}") or b""
    title = inert(f"incident({incident.stack}): {incident.severity} {incident.title}")
    try:
        pr = forge.open(branch=incident.branch, title=title, body=body.decode())
        forge.check(head, CheckState.SUCCESS, "an incident's report; it changes no stack")
    except PilotError as error:
        return [f"its pull request is not there yet, run it again: {error}"]
    return [f"#{pr.number}: {title} {pr.url}".rstrip()]
