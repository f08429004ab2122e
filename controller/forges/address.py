"""Which server and which repository a git remote is."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from controller.errors import ConfigError
from controller.forges import command


@dataclass(frozen=True, slots=True)
class Address:
    """`host` is in lower case, with its port where the address is http(s) and names one; `path` is `owner/name`."""

    host: str
    path: str

    @classmethod
    def of(cls, remote: str) -> Address | None:
        """Read a URL or `user@host:path` as git does; None for a repository on this machine."""
        parts = urllib.parse.urlsplit(remote)
        if parts.scheme in ("http", "https", "ssh", "git") and parts.hostname:
            port = f":{parts.port}" if parts.port and parts.scheme in ("http", "https") else ""
            return cls(parts.hostname + port, _clean(parts.path))
        found = re.fullmatch(r"(?:[^@/:]+@)?([^/:]{2,}):(?!//)(.+)", remote)  # a host of one letter is a Windows drive
        return cls(found[1].lower(), _clean(found[2])) if found else None

    def owner_and_name(self, remote: str) -> tuple[str, str]:
        """
        The two parts of `owner/name`.

        Raises:
            ConfigError: the path of *remote* has not two parts.
        """
        owner, _, name = self.path.partition("/")
        if not owner or not name or "/" in name:
            raise ConfigError(f"repository {command.redact(remote)}: expected HOST/owner/name, found {self.path!r}")
        return owner, name


def _clean(path: str) -> str:
    return urllib.parse.unquote(path).strip("/").removesuffix(".git")
