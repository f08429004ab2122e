"""
`pulumi up` by the real engine: the CLI, the Automation API, an inline program, a file backend.

The engine attaches to our stand-in for the AWS provider. Nothing outside of a temporary directory is written.
"""

from __future__ import annotations

import functools
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from pulumi import automation

from controller.engine import Cli, Workspace, find_pulumi, program, type_and_name
from controller.rehearsal.localcloud.apply import PROGRAM, PROVIDERS, Applied, Step
from controller.rehearsal.localcloud.cloud import LocalAws
from controller.rehearsal.localcloud.provider import serving

__all__ = ["Engine", "find_pulumi"]

_HISTORY = json.dumps(
    [{"kind": "update", "startTime": "2000-01-01T00:00:00.000Z", "message": "", "environment": {},
      "config": {}, "result": "succeeded", "version": 1}]
)  # fmt: skip


class Engine:
    """Keeps the promises of `Applier` with the CLI at *pulumi*. Enter it to use it."""

    def __init__(
        self, cloud: LocalAws, pulumi: Path, *, path: Path = PROGRAM, policy_packs: tuple[Path, ...] = ()
    ) -> None:
        self._cloud = cloud
        self._command = _Cli(pulumi)
        self._program = program(path)
        self._packs = policy_packs
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pilot-")))
            for name in ("home", "state"):
                (self._dir / name).mkdir()
            self.environment = _environment(self._dir / "state", stack.enter_context(serving(self._cloud)))
            self._pulumi = stack.enter_context(
                Workspace(
                    self._command,
                    self._program,
                    environment=self.environment,
                    home=self._dir / "home",
                    policy_packs=self._packs,
                )
            )
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def preview(self, stack: str, project: bytes, stack_file: bytes) -> Applied:
        """Say what `up` would do; AWS stays as it is."""
        return _applied(self._pulumi.preview(self._pulumi.stack(stack, project, stack_file, create=True)))

    def up(self, stack: str, project: bytes, stack_file: bytes, *, refresh: bool = False) -> Applied:
        handle = self._pulumi.stack(stack, project, stack_file, create=True)
        return _applied(self._pulumi.run(functools.partial(handle.up, refresh=refresh)))

    def destroy(self, stack: str) -> Applied:
        return _applied(self._pulumi.run(self._pulumi.known(stack).destroy))


def _environment(state: Path, port: int) -> dict[str, str]:
    return {
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": "rehearsal",
        "PULUMI_DEBUG_PROVIDERS": f"aws:{port}",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        # A stack file without a salt would get a new one in each run: a second key, of a million rounds.
        "PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_SKIP_CHECKPOINTS": "true",
    }


class _Cli(Cli):
    """
    The CLI, without what a rehearsal need not wait for.

    After each update the Automation API asks for outputs and history by three more processes,
    0.9 s in all. The engine's events have told both, so that they are answered from here.
    """

    def run(self, args: list[str], *rest: Any, **named: Any) -> automation.CommandResult:
        match args[:2]:
            case ["stack", "output"]:
                return automation.CommandResult(stdout="{}", stderr="", code=0)
            case ["stack", "history"]:
                return automation.CommandResult(stdout=_HISTORY, stderr="", code=0)
        return super().run(args, *rest, **named)


def _applied(events: list[automation.EngineEvent]) -> Applied:
    steps: list[Step] = []
    changes: dict[str, int] = {}
    outputs: dict[str, Any] = {}
    for event in events:
        if event.summary_event:
            changes = {str(op): n for op, n in event.summary_event.resource_changes.items()}
        if event.res_outputs_event:
            metadata = event.res_outputs_event.metadata
            if metadata.type == "pulumi:pulumi:Stack" and metadata.new:
                outputs = dict(metadata.new.outputs or {})
        if event.resource_pre_event:
            metadata = event.resource_pre_event.metadata
            op = str(getattr(metadata.op, "value", metadata.op))
            step = Step(op, *type_and_name(metadata.urn))
            # Of a replacement's three events one is kept. The provider is no resource of ours.
            hidden = op in ("same", "refresh", "create-replacement", "delete-replaced")
            if not hidden and not step.type.startswith(PROVIDERS):
                steps.append(step)
    return Applied(changes, tuple(steps), outputs)
