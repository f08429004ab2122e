"""Put the adapters together, from the settings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from controller.drift import Drift
from controller.errors import ConfigError
from controller.forges.git import Git
from controller.forges.local import LocalForge
from controller.observe import Reader
from controller.policy import Policy
from controller.ports import Forge, Source
from controller.settings import Settings
from controller.sources.jsonlines import JsonLines


@dataclass(frozen=True, slots=True)
class World:
    """All that a pass needs."""

    reader: Reader
    forge: Forge


def world(settings: Settings, now: Callable[[], datetime]) -> World:
    """
    The adapters for a pass.

    Raises:
        ConfigError: no repository is named.
    """
    from controller.aws.live import EcsLiveState, client_factory

    git = repository(settings)
    live = EcsLiveState(client_factory(endpoint=settings.aws_endpoint))
    return World(
        Reader(git, live, lambda stack, policy: source(settings, stack, policy)),
        forge(settings, git, now),
    )


def repository(settings: Settings) -> Git:
    """The repository that holds the state, mirrored in the cache."""
    remote = settings.remote()
    key = hashlib.sha256(remote.encode()).hexdigest()[:16]
    return Git(remote, directory=settings.cache / "mirrors" / key, base=settings.base)


def forge(settings: Settings, git: Git, now: Callable[[], datetime]) -> LocalForge:
    """The forge of the repository; so far the local one, whose pull requests are refs."""
    return LocalForge(git, actor=settings.actor, now=now)


def drift(settings: Settings, folder: Path, stack: str) -> Drift:
    """
    How *stack*, as declared by the files in *folder*, differs from what was applied and what runs.

    Raises:
        ConfigError, TransientError: as `plans.preview`.
    """
    from controller import plans, stackfile
    from controller.aws.live import EcsLiveState, client_factory
    from controller.drift import compare

    planned, changed = plans.inspect(folder, stack, pulumi())
    name = f"Pulumi.{stack}.yaml"
    declared = stackfile.read((folder / name).read_bytes(), name=name)
    live = EcsLiveState(client_factory(endpoint=settings.aws_endpoint))
    seen = live.read(declared.service, declared.rollout.exposure, declared.region)
    return compare(stack, declared, seen, planned=planned, changed=changed)


def pulumi() -> Path:
    """
    The `pulumi` command.

    Raises:
        ConfigError: there is none.
    """
    from controller import engine

    command = engine.find_pulumi()
    if command is None:
        raise ConfigError(
            "there is no pulumi command on PATH; install it (https://www.pulumi.com/docs/iac/download-install/)"
            " or name it by PILOT_PULUMI"
        )
    return command


def source(settings: Settings, stack: str, policy: Policy) -> Source:
    """The source that the stack's policy names."""
    place = policy.source
    if place.kind == "files":
        return JsonLines(place.paths, fields=place.fields, types=place.types)
    from controller.sources.events_api import EventsApi

    assert place.url is not None  # the policy asks for it
    key = hashlib.sha256(place.url.encode()).hexdigest()[:16]
    return EventsApi(
        place.url, limit=place.limit, spool=settings.cache / "events" / f"{stack}-{key}",
        token=settings.events_token, fields=place.fields, types=place.types,
    )  # fmt: skip
