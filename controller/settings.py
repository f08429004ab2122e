"""Where the controller finds its repository and its world, from environment variables that start with `PILOT_`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from controller.errors import ConfigError

PREFIX = "PILOT_"
_THE_APPS = tuple(
    PREFIX + name for name in ("ROLLOUT_PCT", "INTAKE", "COHORT", "VARIANT", "FLAG_", "SETTINGS_PARAMETER")
)


class Settings(BaseModel):
    """
    Typed settings; an unknown `PILOT_` variable is refused, since a misspelt one would be silently without effect.

    `repository` is a path or URL of the repository that holds the state; without it the remote `origin` of the
    checkout in the working directory. `cache` keeps a mirror of it and the polled events; deleting it costs evidence
    of an events API that only has `limit`, nothing else. The app's own variables are passed over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str = ""
    base: str = "main"
    actor: str = "pilot"
    cache: Path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pilot"
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
            if name.startswith(PREFIX) and not name.startswith(_THE_APPS)
        }
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
