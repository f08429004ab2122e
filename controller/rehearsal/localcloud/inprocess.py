"""
`pulumi up` without the engine, for machines without the CLI: the same handlers, in this process.

The program runs against the SDK's mocks, whose answers are what the handlers made. What the
engine adds is missing: dependencies are followed only as the program's values flow, and what the
program no longer declares is deleted in the reverse order of its registration.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pulumi
from pulumi.runtime import mocks
from pulumi.runtime.settings import get_root_resource
from pulumi.runtime.stack import Stack

from controller.engine import parsed, program, running
from controller.errors import ConfigError
from controller.rehearsal.localcloud.apply import PROGRAM, PROVIDERS, Applied, Step, counted, in_own_loop
from controller.rehearsal.localcloud.calls import Aws, said
from controller.rehearsal.localcloud.cloud import LocalAws
from controller.rehearsal.localcloud.kinds import invoke, kind_of
from controller.rehearsal.localcloud.shapes import Bag, plain


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as last applied."""

    token: str
    name: str
    id: str
    inputs: Bag
    outputs: Bag


_State = dict[tuple[str, str], Resource]  # by type and name, in the order of the last registration


class InProcess:
    """Keeps the promises of `Applier` without any binary."""

    def __init__(self, cloud: LocalAws, *, path: Path = PROGRAM) -> None:
        self._cloud = cloud
        self._program = program(path)
        self._states: dict[str, _State] = {}

    def up(self, stack: str, project: bytes, stack_file: bytes, *, refresh: bool = False) -> Applied:
        name = parsed("Pulumi.yaml", project)["name"]
        settings = _settings(stack, stack_file)
        aws = self._cloud.aws(settings.get("aws:region"))
        state = self._states.setdefault(stack, {})
        if refresh:
            _refresh(aws, state)
        run = _Run(aws, state)
        run.component("pulumi:pulumi:Stack", f"{name}-{stack}")
        with running:
            try:
                outputs = in_own_loop(lambda: _evaluate(self._program, run, settings, project=name, stack=stack))
            except ConfigError:
                raise
            except Exception as error:  # whatever a program may raise
                raise ConfigError(f"the program was refused: {said(error)}") from error
        run.finish()
        return Applied(counted(run.ops), tuple(run.steps), outputs)

    def destroy(self, stack: str) -> Applied:
        state = self._states.pop(stack)
        for resource in reversed(state.values()):
            _delete(self._cloud.aws(), resource)
        steps = [Step("delete", one.token, one.name) for one in reversed(state.values())]
        told = tuple(step for step in steps if not step.type.startswith(PROVIDERS))
        return Applied({"delete": len(steps)}, told, {})

    def resources(self, stack: str) -> tuple[Resource, ...]:
        """Return what is remembered of *stack*, in order of registration."""
        return tuple(self._states[stack].values())


class _Run(mocks.Mocks):
    """One run of a program over the state of its stack."""

    def __init__(self, aws: Aws, state: _State) -> None:
        self.aws = aws
        self.ops: list[str] = []
        self.steps: list[Step] = []
        self._state = state
        self._seen: set[tuple[str, str]] = set()
        self._replaced: list[Resource] = []
        self._lock = threading.RLock()

    def call(self, args: mocks.MockCallArgs) -> Any:
        with self._lock:
            return invoke(args.token, plain(args.args), self.aws)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, Bag]:
        with self._lock:  # the SDK registers from many threads
            return self._registered(args)

    def _registered(self, args: mocks.MockResourceArgs) -> tuple[str, Bag]:
        key = (args.typ, args.name)
        if key in self._seen:
            raise ConfigError(f"two resources of type {args.typ} have the name {args.name}")
        if not args.custom:
            self.component(*key)
            return "", {}
        if args.typ.startswith(PROVIDERS):  # the local AWS takes no settings
            self.component(*key, told=False)
            return "local", {}
        self._seen.add(key)
        inputs: Bag = json.loads(json.dumps(plain(args.inputs)))
        kind = kind_of(args.typ, self.aws)
        kind.check(inputs)
        before = self._state.get(key)
        op = self._op(before, inputs)
        self._note(op, args.typ, args.name)
        if before is not None and op == "same":
            return self._keep(key, before)
        if before is not None and op == "update":
            kind.update(before.id, before.inputs, inputs)
            id_ = before.id
        else:
            id_ = kind.create(inputs)
            if before is not None:
                self._replaced.append(before)
        found = kind.read(id_, inputs, before.outputs if before and op == "update" else {})
        outputs = {**inputs, **(found[1] if found else {})}
        return self._keep(key, Resource(args.typ, args.name, id_, inputs, outputs))

    def _keep(self, key: tuple[str, str], resource: Resource) -> tuple[str, Bag]:
        """Remember a resource after those that it may refer to, which may be younger."""
        self._state.pop(key, None)
        self._state[key] = resource
        return resource.id, resource.outputs

    def finish(self) -> None:
        """Delete what was replaced, and what the program no longer declares."""
        for key in [key for key in reversed(self._state) if key not in self._seen]:
            self._note("delete", *key)
            _delete(self.aws, self._state.pop(key))
        for resource in self._replaced:
            _delete(self.aws, resource)

    def component(self, token: str, name: str, *, told: bool = True) -> None:
        """Take note of a resource that nothing in AWS stands for; one that is not *told* is only counted."""
        key = (token, name)
        self._seen.add(key)
        op = "same" if key in self._state else "create"
        if told:
            self._note(op, token, name)
        else:
            self.ops.append(op)
        self._state.setdefault(key, Resource(token, name, "", {}, {}))

    def _op(self, before: Resource | None, inputs: Bag) -> str:
        if before is None:
            return "create"
        keys, replaces = kind_of(before.token, self.aws).changed(before.inputs, inputs)
        return "replace" if replaces else "update" if keys else "same"

    def _note(self, op: str, token: str, name: str) -> None:
        self.ops.append(op)
        if op != "same":
            self.steps.append(Step(op, token, name))


def _refresh(aws: Aws, state: _State) -> None:
    """Remember what is live in place of what was applied."""
    for key, one in list(state.items()):
        if not one.id or one.id == "local":
            continue
        found = kind_of(one.token, aws).read(one.id, one.inputs, one.outputs)
        if found is None:
            del state[key]
        else:
            state[key] = replace(one, inputs=found[0], outputs=found[1])


def _delete(aws: Aws, resource: Resource) -> None:
    if resource.id:
        kind_of(resource.token, aws).delete(resource.id, {**resource.inputs, **resource.outputs})


def _evaluate(
    run_program: Callable[[], None],
    run: _Run,
    settings: dict[str, str],
    *,
    project: str,
    stack: str,
) -> Bag:
    """Run the program against *run* and return what it exports."""
    pulumi.runtime.set_all_config(settings)
    mocks.set_mocks(run, project, stack, logger=_quiet())
    outputs: Bag = {}

    def evaluated() -> Any:
        run_program()
        root = cast("Stack", get_root_resource())  # made by set_mocks
        return pulumi.Output.all(**root.outputs).apply(outputs.update)

    pulumi.runtime.test(evaluated)()  # type: ignore[no-untyped-call]
    return outputs


def _quiet() -> logging.Logger:
    """Return a logger that keeps to itself: the error is raised as well."""
    logger = logging.getLogger(f"{__name__}.program")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    return logger


def _settings(stack: str, stack_file: bytes) -> dict[str, str]:
    """Return a stack file's configuration as the engine hands it to a program."""
    where = f"Pulumi.{stack}.yaml"
    config: Bag = parsed(where, stack_file).get("config") or {}
    if any(isinstance(value, dict) and "secure" in value for value in config.values()):
        raise ConfigError(f"{where} has secrets, which only the pulumi command can read")
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
