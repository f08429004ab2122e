"""
`pulumi up` by the real engine: the CLI, the Automation API, an inline program, a file backend.

The engine attaches to our stand-in for the AWS provider. Nothing outside of a temporary directory
is written: the engine rewrites stack files (it adds a salt, changes line ends), so that it gets
copies.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from pulumi import automation
from semver import VersionInfo

from controller.errors import ConfigError, TransientError
from controller.rehearsal.localcloud.apply import (
    PROGRAM,
    PROVIDERS,
    Applied,
    Step,
    parsed,
    program,
    running,
    step_of,
)
from controller.rehearsal.localcloud.cloud import LocalAws
from controller.rehearsal.localcloud.provider import serving

VERSION = "3.274.1"  # what tools/pulumi-cli.sh builds
_LOOP_ENDS_WITHIN_SECONDS = 5
_ECHOES = (
    "an unhandled error occurred",
    "update failed",
    "preview failed",
    "resource registration",
)
_HISTORY = json.dumps(
    [{"kind": "update", "startTime": "2000-01-01T00:00:00.000Z", "message": "", "environment": {},
      "config": {}, "result": "succeeded", "version": 1}]
)  # fmt: skip


def find_pulumi() -> Path | None:
    """Find the CLI: $PILOT_PULUMI, else PATH, else where tools/pulumi-cli.sh puts it."""
    if named := os.environ.get("PILOT_PULUMI"):
        return Path(named)
    if on_path := shutil.which("pulumi"):
        return Path(on_path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "pilot" / f"pulumi-{VERSION}" / "pulumi"
    return built if os.access(built, os.X_OK) else None


class Engine:
    """Keeps the promises of `Applier` with the CLI at *pulumi*. Enter it to use it."""

    def __init__(self, cloud: LocalAws, pulumi: Path, *, path: Path = PROGRAM) -> None:
        self._cloud = cloud
        self._command = _Cli(pulumi)
        self._program = program(path)
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._stacks: dict[str, automation.Stack] = {}
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pilot-")))
            for name in ("home", "state", "work"):
                (self._dir / name).mkdir()
            self._port = stack.enter_context(serving(self._cloud))
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stacks.clear()
        self._exit.close()
        self._close_loops()

    def preview(self, stack: str, project: bytes, stack_file: bytes) -> Applied:
        return self._run(self._prepared(stack, project, stack_file).preview)

    def up(self, stack: str, project: bytes, stack_file: bytes) -> Applied:
        return self._run(self._prepared(stack, project, stack_file).up)

    def refresh(self, stack: str) -> Applied:
        """Say how AWS differs from what was last applied; nothing is changed."""
        return self._run(self._stacks[stack].preview_refresh)

    def destroy(self, stack: str) -> Applied:
        return self._run(self._stacks[stack].destroy)

    def _prepared(self, stack: str, project: bytes, stack_file: bytes) -> automation.Stack:
        """Put copies of the files in place and return the stack, made where it is new."""
        settings = parsed("Pulumi.yaml", project)
        parsed(f"Pulumi.{stack}.yaml", stack_file)
        work = self._dir / "work"
        (work / "Pulumi.yaml").write_bytes(project)
        (work / f"Pulumi.{stack}.yaml").write_bytes(stack_file)
        (work / settings.get("main", ".")).mkdir(exist_ok=True)
        if stack not in self._stacks:
            options = automation.LocalWorkspaceOptions(
                work_dir=str(work),
                pulumi_home=str(self._dir / "home"),
                env_vars=self._environment(),
                pulumi_command=self._command,
            )
            try:
                self._stacks[stack] = automation.create_stack(
                    stack, project_name=settings["name"], program=self._in_loop, opts=options
                )
            except automation.CommandError as error:
                raise _refused([], error) from error
        return self._stacks[stack]

    def _close_loops(self) -> None:
        """Close what the SDK leaves open when a program is refused, once it is no more at work."""
        limit = time.monotonic() + _LOOP_ENDS_WITHIN_SECONDS
        while any(loop.is_running() for loop in self._loops) and time.monotonic() < limit:
            time.sleep(0.01)
        for loop in self._loops:
            if loop.is_running() or loop.is_closed():
                continue
            loop.set_exception_handler(lambda _loop, _context: None)  # the SDK's stops the loop
            loop.call_soon(loop.stop)
            loop.run_forever()  # once round, for a stop that the SDK left behind would end the next run early
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks) if tasks else asyncio.sleep(0))
            loop.close()
        self._loops = [loop for loop in self._loops if not loop.is_closed()]

    def _in_loop(self) -> None:
        """Run the program, and remember its event loop, for the SDK does not always close it."""
        self._loops.append(asyncio.get_running_loop())
        self._program()

    def _environment(self) -> dict[str, str]:
        return {
            "PULUMI_BACKEND_URL": f"file://{self._dir / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "rehearsal",
            "PULUMI_DEBUG_PROVIDERS": f"aws:{self._port}",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_SKIP_CHECKPOINTS": "true",
        }

    def _run(self, operation: Callable[..., Any]) -> Applied:
        events: list[automation.EngineEvent] = []
        with running:
            try:
                operation(on_event=events.append, color="never")
            except automation.CommandError as error:
                raise _refused(events, error) from error
            finally:
                self._close_loops()
        return _applied(events)


class _Cli(automation.PulumiCommand):
    """
    The CLI at a path of our choice; the SDK's own looks for `bin/pulumi` below a root.

    After each update the Automation API asks for outputs and history by three more processes,
    0.9 s in all. The engine's events have told both, so that they are answered from here.
    """

    def __init__(self, path: Path) -> None:
        self.command = str(path)
        self.version = _version(path)

    def run(self, args: list[str], *rest: Any, **named: Any) -> automation.CommandResult:
        match args[:2]:
            case ["stack", "output"]:
                return automation.CommandResult(stdout="{}", stderr="", code=0)
            case ["stack", "history"]:
                return automation.CommandResult(stdout=_HISTORY, stderr="", code=0)
        return super().run(args, *rest, **named)


@functools.cache
def _version(path: Path) -> VersionInfo:
    try:
        said = subprocess.run([path, "version"], capture_output=True, text=True, check=True)
        return VersionInfo.parse(said.stdout.strip().removeprefix("v"))
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise ConfigError(
            f"{path} does not run as the pulumi command ({error}); get it with tools/pulumi-cli.sh"
        ) from error


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
            step = step_of(op, metadata.urn)
            # Of a replacement's three events one is kept. The provider is no resource of ours.
            hidden = op in ("same", "create-replacement", "delete-replaced")
            if not hidden and not step.type.startswith(PROVIDERS):
                steps.append(step)
    return Applied(changes, tuple(steps), outputs)


def _refused(events: list[automation.EngineEvent], error: automation.CommandError) -> ConfigError | TransientError:
    """Say in the engine's words what was refused; where it said nothing, it failed itself."""
    said = [
        _tidy(event.diagnostic_event)
        for event in events
        if event.diagnostic_event and event.diagnostic_event.severity == "error"
    ]
    reasons = list(dict.fromkeys(reason for reason in said if reason))
    if reasons:
        return ConfigError("pulumi: " + "; ".join(reasons))
    return TransientError(f"pulumi did not run to its end: {str(error).strip()[-500:]}")


def _tidy(said: automation.DiagnosticEvent) -> str:
    """Return a message without markup and echoes, after the resource that it is about."""
    plain = re.sub(r"<\{%.*?%\}>", "", said.message)
    lines = [line.strip() for line in plain.splitlines()]
    reason = "\n".join(line for line in lines if line and not line.startswith(_ECHOES))
    step = step_of("", said.urn) if reason and said.urn else None
    if step is None or step.type == "pulumi:pulumi:Stack":
        return reason
    return f"{step.type} {step.name}: {reason}"
