"""What `pulumi up` would change in a user's project, and what somebody has changed in AWS. Nothing is changed here."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pulumi import automation

from controller.drift import Change
from controller.engine import Cli, Workspace, parsed, program, type_and_name
from controller.errors import ConfigError


def preview(folder: Path, stack: str, command: Path, *, policy_packs: tuple[Path, ...] = ()) -> list[Change]:
    """
    What `pulumi up` would change in *stack* of the project in *folder*: declared against applied.

    The user's own backend, credentials and plugins are used, as the environment names them.

    Raises:
        ConfigError: a file is missing or wrong, the backend has no such stack, or the program was refused.
        TransientError: the engine did not run to its end.
    """
    with _opened(folder, stack, command, policy_packs) as (workspace, handle):
        return changes(event.resource_pre_event for event in workspace.preview(handle))


def inspect(folder: Path, stack: str, command: Path) -> tuple[list[Change], list[Change]]:
    """As `preview`, and what a refresh finds changed: applied against live."""
    with _opened(folder, stack, command) as (workspace, handle):
        planned = changes(event.resource_pre_event for event in workspace.preview(handle))
        return planned, changes(event.res_outputs_event for event in workspace.run(handle.preview_refresh))


@contextmanager
def _opened(
    folder: Path, stack: str, command: Path, policy_packs: tuple[Path, ...] = ()
) -> Iterator[tuple[Workspace, automation.Stack]]:
    project, stack_file = (_read(folder / name) for name in ("Pulumi.yaml", f"Pulumi.{stack}.yaml"))
    main = folder / parsed("Pulumi.yaml", project).get("main", ".")

    def run_program() -> None:
        sys.path.insert(0, str(folder))  # for its own packages, before those of the same name that are installed
        try:
            program(main)()
        finally:
            sys.path.remove(str(folder))

    quiet = {"PULUMI_SKIP_UPDATE_CHECK": "true"}
    with Workspace(Cli(command), run_program, environment=quiet, policy_packs=policy_packs) as workspace:
        yield workspace, workspace.stack(stack, project, stack_file)


def changes(events: Iterable[Any]) -> list[Change]:
    """What changes, of the engine's events of resources; of a replacement's three, one is kept."""
    found = []
    for event in events:
        op = str(getattr(event.metadata.op, "value", event.metadata.op)) if event else "same"
        if op in ("create", "update", "replace", "delete"):
            kind, name = type_and_name(event.metadata.urn)
            before, after = (
                dict(state.inputs or {}) if state else {} for state in (event.metadata.old, event.metadata.new)
            )
            found.append(Change(op, kind, name, before, after, tuple(event.metadata.diffs or ())))
    return [change for change in found if not change.type.startswith("pulumi:")]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; run in the folder that holds the Pulumi project") from None
