"""Where the controller finds its repository and its world, from environment variables that start with `PILOT_`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from controller.errors import ConfigError

PREFIX = "PILOT_"
ForgeKind = Literal["github", "gitlab", "gitea", "forgejo", "local"]
# A line break in one, as `echo` leaves it in a file, would end a header.
Secret = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[\x21-\x7e]+$")]
_OTHERS = tuple(
    PREFIX + name for name in ("ROLLOUT_PCT", "INTAKE", "COHORT", "VARIANT", "FLAG_", "SETTINGS_PARAMETER", "CHANNEL_")
)


class Settings(BaseModel):
    """
    Typed settings; an unknown `PILOT_` variable is refused, since a misspelt one would be silently without effect. An
    empty one counts as not set, which is how a CI writes a secret that is not there.

    `repository` is a path or URL of the repository that holds the state; without it the remote `origin` of the
    checkout in the working directory. `cache` keeps a mirror of it and the polled events; deleting it costs evidence
    of an events API that only has `limit`, nothing else. The app's own variables are passed over, and
    so are `PILOT_CHANNEL_*`, the addresses of channels that the policy names.

    `forge` is where pull requests live; it need not be named where the repository is a path or its host is well known.
    `api` is the address of its API where that cannot be derived from the host, as `https://git.example.com/api/v3`, or
    `https://example.com/gitlab/api/v4` where it is below a path.
    `token` gives access to it and, by https, to the repository. On GitHub an App goes before it: `app_id` (its number
    or its client id), `app_key` (the path of its private key) and, optionally, `app_installation`. `ci_token` is
    `GITHUB_TOKEN` of the environment, used where there is nothing else. `webhook_secret` is what the forge signs
    webhooks with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str = ""
    base: str = "main"
    actor: str = "pilot"
    cache: Path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pilot"
    forge: ForgeKind | None = None
    api: str = ""
    token: Secret | None = None
    app_id: str = ""
    app_installation: str | None = None
    app_key: Path | None = None
    ci_token: Secret | None = None
    webhook_secret: Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[\x20-\x7e]+$")] | None = None
    events_token: str | None = None
    aws_endpoint: str | None = None
    pulumi: str | None = None  # read by the rehearsal

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Settings:
        """
        Raises:
            ConfigError: an unknown variable, or one with a wrong value.
        """
        found = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX) and not name.startswith(_OTHERS)
        }
        found.setdefault("ci_token", environment.get("GITHUB_TOKEN", ""))
        found = {name: value for name, value in found.items() if value or name not in cls.model_fields}
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            item = error.errors()[0]
            known = ", ".join(PREFIX + field.upper() for field in cls.model_fields)
            name = PREFIX + str(item["loc"][0]).upper()
            raise ConfigError(f"environment: {name}: {item['msg'].lower()}; known: {known}") from None

    def remote(self) -> str:
        """
        The repository's path or URL.

        Raises:
            ConfigError: none is set, and the working directory is no checkout with a remote `origin`.
        """
        if self.repository:
            return self.repository
        command = ["git", "remote", "get-url", "origin"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError("no repository: run inside a checkout that has a remote origin, or set PILOT_REPOSITORY")
        return done.stdout.strip()
