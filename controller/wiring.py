"""Put the adapters together, from the settings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from controller.drift import Drift
from controller.errors import ConfigError
from controller.forges import command
from controller.forges.address import Address
from controller.forges.cache import Cache
from controller.forges.git import Git
from controller.forges.local import LocalForge
from controller.forges.patience import Patience
from controller.launch import doctor
from controller.model import Declared, Place
from controller.notify.told import Teller
from controller.observe import Reader
from controller.policy import Policy
from controller.ports import Forge, Source
from controller.settings import ForgeKind, Settings
from controller.sources.jsonlines import JsonLines

if TYPE_CHECKING:
    from controller.aws.breakglass import BreakGlass

_PATIENCE = Patience()  # of the pass under way, with all that talks to the forge: a process makes one after the other


@dataclass(frozen=True, slots=True)
class World:
    """All that a pass needs; `close` ends the processes that it started. `notifier` tells on a policy's channels."""

    reader: Reader
    forge: Forge
    close: Callable[[], None]
    notifier: Callable[[Policy], Teller]


def world(settings: Settings, now: Callable[[], datetime]) -> World:
    """
    The adapters for a pass, which from now on has all its time to wait.

    Raises:
        ConfigError: no repository is named.
    """
    from controller.aws.live import EcsLiveState, client_factory

    _PATIENCE.renew()
    git = repository(settings)
    live = EcsLiveState(client_factory(endpoint=settings.aws_endpoint))
    return World(
        Reader(git, live, lambda stack, policy: source(settings, stack, policy)),
        forge(settings, git, now),
        git.close,
        lambda policy: notifier(git, policy, now),
    )


def notifier(git: Git, policy: Policy, now: Callable[[], datetime]) -> Teller:
    """Tells on the channels of *policy*, whose addresses are in the environment; what was told is kept in *git*."""
    return Teller(git, policy.operations.channels, environment=os.environ, now=now)


def warning(settings: Settings) -> str | None:
    """What the user should know of the forge's token: that it is a workflow's, whose pull requests start no other."""
    if kind(settings) != "github" or settings.app_id or settings.token not in (None, settings.ci_token):
        return None
    from controller.forges.github import WORKFLOW_ADVICE

    return WORKFLOW_ADVICE


def repository(settings: Settings) -> Git:
    """The repository that holds the state, mirrored in the cache; by https with the forge's token, if there is one."""
    remote = settings.remote()
    user, token = _USERS[kind(settings)], access(settings)
    address = remote
    if kind(settings) == "gitlab" and remote.startswith("https://"):
        # Else GitLab redirects, which no token follows: https://github.com/fluxcd/source-controller/pull/772
        address = f"{remote.rstrip('/').removesuffix('.git')}.git"
    return Git(
        address,
        directory=settings.cache / "mirrors" / _key(remote),
        base=settings.base,
        credentials=(lambda: (user, token())) if token else None,
    )


def forge(settings: Settings, git: Git, now: Callable[[], datetime]) -> Forge:
    """
    The forge of the repository: the product that its host names, or `PILOT_FORGE`.

    Raises:
        ConfigError: the product cannot be told, or there is no token for it.
    """
    named = kind(settings)
    if named == "local":
        return LocalForge(git, actor=settings.actor, now=now)
    token = access(settings)
    if token is None:
        wanted = "PILOT_TOKEN, or PILOT_APP_ID and PILOT_APP_KEY" if named == "github" else "PILOT_TOKEN"
        raise ConfigError(f"no token for {named}: set {wanted}; docs/forges.md says which permissions it needs")
    if named == "github":
        return _github(settings, token)
    return _gitlab(settings, token) if named == "gitlab" else _gitea(settings, token)


def kind(settings: Settings) -> ForgeKind:
    """
    Which product the forge is; a repository without a host has the local one.

    Raises:
        ConfigError: the host could be any.
    """
    address = Address.of(settings.remote())
    if settings.forge is not None:
        if settings.forge != "local" and address is None:
            raise ConfigError(f"PILOT_FORGE={settings.forge}, but {settings.remote()} is on this machine; set a URL")
        return settings.forge
    if address is None:
        return "local"
    for host, product in _HOSTS.items():
        if address.host == host or address.host.endswith(f".{host}"):
            return product
    raise ConfigError(
        f"{command.redact(settings.remote())}: which forge is {address.host}? Set PILOT_FORGE to github, gitlab, "
        "gitea or forgejo; or to local, which keeps pull requests in the repository itself"
    )


_HOSTS: dict[str, ForgeKind] = {
    "github.com": "github",
    "ghe.com": "github",
    "gitlab.com": "gitlab",
    "gitea.com": "gitea",
    "codeberg.org": "forgejo",
}
# Of git over https; Gitea and Forgejo take any with a token.
_USERS = {"github": "x-access-token", "gitlab": "oauth2", "gitea": "pilot", "forgejo": "pilot", "local": "pilot"}


@cache  # so that git and the API have one token of an App between them
def access(settings: Settings) -> Callable[[], str] | None:
    """What gives the forge's token; None where none is set, and git then asks its own helpers."""
    if kind(settings) == "github" and settings.app_id:
        from controller.forges import github
        from controller.forges.github_app import App, AppToken

        if settings.app_key is None:
            raise ConfigError(
                "PILOT_APP_ID is set and PILOT_APP_KEY is not; set it to the path of the App's private key"
            )
        address, owner, name = _place(settings)
        app = App(settings.app_id, settings.app_key, settings.app_installation)
        return AppToken(settings.api or github.api(address.host), owner, name, app=app, patience=_PATIENCE)
    token = settings.token or (settings.ci_token if kind(settings) == "github" else None)
    return (lambda: token) if token else None


def _github(settings: Settings, token: Callable[[], str]) -> Forge:
    from controller.forges import github

    address, owner, name = _place(settings)
    return github.GitHub(
        settings.api or github.api(address.host),
        owner,
        name,
        token=token,
        branch=settings.base,
        cache=Cache(settings.cache / "forges" / _key(settings.remote())),
        patience=_PATIENCE,
    )


def _gitlab(settings: Settings, token: Callable[[], str]) -> Forge:
    from controller.forges.gitlab import GitLab

    url, address = _server(settings, "/api/v4")
    if "/" not in address.path:
        raise ConfigError(
            f"repository {command.redact(settings.remote())}: expected HOST/group/name, found {address.path!r}"
        )
    return GitLab(
        address.path,
        token=token,
        url=url,
        base=settings.base,
        cache=Cache(settings.cache / "forges" / _key(settings.remote())),
        patience=_PATIENCE,
    )


def _gitea(settings: Settings, token: Callable[[], str]) -> Forge:
    from controller.forges.gitea import Gitea

    url, address = _server(settings, "/api/v1")
    owner, name = address.owner_and_name(settings.remote())
    return Gitea(
        owner,
        name,
        token=token,
        url=url,
        base=settings.base,
        cache=Cache(settings.cache / "forges" / _key(settings.remote())),
        patience=_PATIENCE,
    )


def _server(settings: Settings, version: str) -> tuple[str, Address]:
    """The address of the server, and the repository on it; both may be below a path that `PILOT_API` names."""
    remote = settings.remote()
    address = Address.of(remote)
    assert address is not None
    url = (settings.api or f"https://{address.host}").rstrip("/").removesuffix(version)
    below = urlsplit(url).path.strip("/")
    if below and remote.startswith("http"):
        address = Address(address.host, address.path.removeprefix(f"{below}/"))
    return url, address


def _place(settings: Settings) -> tuple[Address, str, str]:
    remote = settings.remote()
    address = Address.of(remote)
    assert address is not None  # only the local forge has none
    return address, *address.owner_and_name(remote)


def _key(remote: str) -> str:
    return hashlib.sha256(remote.encode()).hexdigest()[:16]


def examination(settings: Settings, world: World, now: Callable[[], datetime]) -> doctor.Means:
    """What the doctor looks with."""
    from controller.aws import permissions
    from controller.aws.api import client_factory

    clients = client_factory(endpoint=settings.aws_endpoint)

    def skews(declared: Declared, policy: Policy) -> dict[str, float]:
        aws = permissions.clock(clients, declared.region, now())
        found = {} if aws is None else {"AWS": aws}
        source = doctor.skew(policy.source.url, now) if policy.source.url else None
        return found if source is None else found | {"the events API": source}

    return doctor.Means(
        reader=world.reader,
        forge=world.forge,
        forge_kind=kind(settings),
        warning=warning(settings),
        may_push=repository(settings).try_push,
        aws=lambda declared: permissions.examine(clients, declared),
        skews=skews,
        pulumi=pulumi,
        channels=lambda policy: world.notifier(policy).problems(),
    )


def glass(settings: Settings, declared: Declared) -> BreakGlass:
    """What writes to the service of *declared* in an emergency, or in a drill."""
    from controller.aws.api import client_factory
    from controller.aws.breakglass import BreakGlass

    place = Place(declared.service.cluster, declared.service.name, declared.region)
    return BreakGlass(client_factory(endpoint=settings.aws_endpoint), place)


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
        return JsonLines(place.paths, **place.mapping)
    from controller.sources.events_api import EventsApi

    assert place.url is not None  # the policy asks for it
    key = hashlib.sha256(place.url.encode()).hexdigest()[:16]
    return EventsApi(
        place.url, limit=place.limit, spool=settings.cache / "events" / f"{stack}-{key}",
        token=settings.events_token, fields=place.fields, types=place.types,
    )  # fmt: skip
