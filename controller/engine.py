"""
The Pulumi engine: the `pulumi` command, driven by the Automation API with an inline program.

The engine rewrites stack files (it adds a salt, changes line ends) and may delete them, so that it only ever gets
copies in a temporary directory. Nothing here applies a change by itself.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import runpy
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import yaml
from pulumi import automation, log
from semver import VersionInfo

from controller.errors import ConfigError, PilotError, TransientError

VERSION = "3.274.1"  # what tools/pulumi-cli.sh builds
_LOOP_ENDS_WITHIN_SECONDS = 5
_ECHOES = (
    "an unhandled error occurred",
    "update failed",
    "preview failed",
    "resource registration",
    "Resource monitor has terminated",
)

# A program runs inside of this process, with the SDK's and Python's module caches.
running = threading.Lock()


def find_pulumi() -> Path | None:
    """Find the CLI: $PILOT_PULUMI, else PATH, else where tools/pulumi-cli.sh puts it."""
    if named := os.environ.get("PILOT_PULUMI"):
        return Path(named)
    if on_path := shutil.which("pulumi"):
        return Path(on_path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "pilot" / f"pulumi-{VERSION}" / "pulumi"
    return built if os.access(built, os.X_OK) else None


def program(path: Path) -> Callable[[], None]:
    """Return the Pulumi program in directory *path*, to run in this process."""

    def run() -> None:
        runpy.run_path(str(path / "__main__.py"), run_name="__main__")

    return run


class Cli(automation.PulumiCommand):
    """The CLI at a path of our choice; the SDK's own looks for `bin/pulumi` below a root."""

    def __init__(self, path: Path) -> None:
        self.command = str(path)
        self.version = _version(path)


@functools.cache
def _version(path: Path) -> VersionInfo:
    try:
        said = subprocess.run([path, "version"], capture_output=True, text=True, check=True)
        return VersionInfo.parse(said.stdout.strip().removeprefix("v"))
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise ConfigError(
            f"{path} does not run as the pulumi command ({error}); get it with tools/pulumi-cli.sh"
        ) from error


class Workspace:
    """
    The stacks of one project, on copies of its files. Enter it to use it.

    *environment* is added to that of this process; with *home* the engine's own files are below it. Policy packs are
    asked in every preview.
    """

    def __init__(
        self,
        command: automation.PulumiCommand,
        run_program: Callable[[], None],
        *,
        environment: Mapping[str, str] | None = None,
        home: Path | None = None,
        policy_packs: tuple[Path, ...] = (),
    ) -> None:
        self._command = command
        self._program = run_program
        self._environment = dict(environment or {})
        self._home = home
        self.policy_packs = [str(pack.absolute()) for pack in policy_packs]  # a relative one is looked for below `main`
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._stacks: dict[str, automation.Stack] = {}
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self._dir = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="pilot-")))
        return self

    def __exit__(self, *error: object) -> None:
        self._stacks.clear()
        self._exit.close()
        self._close_loops()

    def preview(self, stack: automation.Stack) -> list[automation.EngineEvent]:
        """Say what `up` would do."""
        return self.run(functools.partial(stack.preview, policy_packs=self.policy_packs or None))

    def run(self, operation: Callable[..., Any]) -> list[automation.EngineEvent]:
        """
        Call a stack's *operation* and return the engine's events.

        Raises:
            ConfigError: the program, a policy or AWS refused what is declared.
            TransientError: the engine itself did not run to its end.
        """
        events: list[automation.EngineEvent] = []
        with running, _without_debug_messages():
            try:
                operation(on_event=events.append, color="never")
            except automation.CommandError as error:
                raise refused(events, error) from error
            finally:
                self._close_loops()
        return events

    def stack(self, name: str, project: bytes, stack_file: bytes, *, create: bool = False) -> automation.Stack:
        """
        Put copies of the files in place and return the stack; with *create* it is made where there is none.

        Raises:
            ConfigError: a file is not YAML, or the backend has no such stack.
        """
        settings = parsed("Pulumi.yaml", project)
        parsed(f"Pulumi.{name}.yaml", stack_file)
        (self._dir / "Pulumi.yaml").write_bytes(project)
        (self._dir / f"Pulumi.{name}.yaml").write_bytes(stack_file)
        (self._dir / settings.get("main", ".")).mkdir(parents=True, exist_ok=True)
        if name not in self._stacks:
            options = automation.LocalWorkspaceOptions(
                work_dir=str(self._dir),
                pulumi_home=str(self._home) if self._home else None,
                env_vars=self._environment,
                pulumi_command=self._command,
            )
            get = automation.create_stack if create else automation.select_stack
            try:
                self._stacks[name] = get(name, project_name=settings["name"], program=self._in_loop, opts=options)
            except automation.StackNotFoundError as error:
                raise ConfigError(
                    f"the backend has no stack {name}; name the right one (pulumi login, PULUMI_BACKEND_URL),"
                    f" or make it: pulumi stack init {name}"
                ) from error
            except automation.CommandError as error:
                raise refused([], error) from error
        return self._stacks[name]

    def known(self, name: str) -> automation.Stack:
        """The stack *name*, whose files are in place already."""
        return self._stacks[name]

    def _in_loop(self) -> None:
        """Run the program, and remember its event loop, for the SDK does not always close it."""
        self._loops.append(asyncio.get_running_loop())
        self._program()

    def _close_loops(self) -> None:
        """Close what the SDK leaves open when a program is refused, once it is no more at work."""
        limit = time.monotonic() + _LOOP_ENDS_WITHIN_SECONDS
        while any(loop.is_running() for loop in self._loops) and time.monotonic() < limit:
            time.sleep(0.01)
        for loop in self._loops:
            if loop.is_running() or loop.is_closed():
                continue
            with suppress(RuntimeError, ValueError):  # the SDK closed it at the same moment
                _emptied(loop)
        self._loops = [loop for loop in self._loops if not loop.is_closed()]


def _emptied(loop: asyncio.AbstractEventLoop) -> None:
    """Close a *loop* that nobody runs, with what is left in it."""
    loop.set_exception_handler(lambda _loop, _context: None)  # the SDK's stops the loop
    loop.call_soon(loop.stop)
    loop.run_forever()  # once round, for a stop that the SDK left behind would end the next run early
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(tasks) if tasks else asyncio.sleep(0))
    loop.close()


@contextmanager
def _without_debug_messages() -> Iterator[None]:
    """
    Keep the SDK's debug messages from the engine, which drops them, after a call for each of them.

    They are nearly half of what a run costs.
    """
    told = log.debug
    log.debug = lambda *_message, **_of: None
    try:
        yield
    finally:
        log.debug = told


def parsed(name: str, data: bytes) -> dict[str, Any]:
    """
    Return what a YAML file says.

    Raises:
        ConfigError: it is not YAML, or not a mapping.
    """
    try:
        value = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not YAML: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{name} holds {value!r}; it should be a mapping")
    return value


# ---------------------------------------------------------------- what the engine says


def type_and_name(urn: str) -> tuple[str, str]:
    """A resource's type, the last of the chain of its parents', and its name."""
    _, _, types, name = urn.split("::", 3)
    return types.rsplit("$", 1)[-1], name


def refused(events: list[automation.EngineEvent], error: automation.CommandError) -> PilotError:
    """Say in the engine's words what was refused; where it said nothing, it failed itself."""
    said = [
        _tidy(found.message, found.urn)
        for event in events
        if (found := event.diagnostic_event) and found.severity == "error"
    ]
    said += [violation for event in events if (violation := violated(event))]
    reasons = list(dict.fromkeys(reason for reason in said if reason))
    if reasons:
        return ConfigError("pulumi: " + "; ".join(reasons))
    return TransientError(f"pulumi did not run to its end: {str(error).strip()[-500:]}")


def violated(event: automation.EngineEvent) -> str | None:
    """The sentence of a mandatory policy that refused a resource, without the policy's description before it."""
    found = event.policy_event
    if found is None or found.enforcement_level != "mandatory":
        return None
    return _tidy(found.message.split("\n", 1)[-1], found.resource_urn)


def _tidy(message: str, urn: str | None) -> str:
    """Return a message without markup and echoes, after the resource that it is about."""
    plain = re.sub(r"<\{%.*?%\}>", "", message)
    lines = [line.strip() for line in plain.splitlines()]
    reason = "\n".join(line for line in lines if line and not line.startswith(_ECHOES))
    kind, name = type_and_name(urn) if reason and urn else ("pulumi:pulumi:Stack", "")
    return reason if kind == "pulumi:pulumi:Stack" else f"{kind} {name}: {reason}"
