"""
A token of a GitHub App's installation: made for one run, one repository and no more rights than are used.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.errors import ConfigError
from controller.forges.answers import RefusedError
from controller.forges.client import Client
from controller.forges.github import headers
from controller.forges.patience import Patience

PERMISSIONS = {"contents": "write", "pull_requests": "write", "statuses": "write", "metadata": "read", "checks": "read"}
_EARLY_S = 300.0  # a token is renewed while it is still good for a slow request
_JWT_S = 540  # GitHub takes at most ten minutes
_SKEW_S = 60  # and no time of issue in its future: the documentation's own advice


@dataclass(frozen=True, slots=True)
class App:
    """`ident` is the client id or the App's number; `installation` is looked up where it is None."""

    ident: str
    key: Path
    installation: str | None = None


class AppToken:
    """
    Gives the token of *app* for repository *owner*/*name* at the API *base*, and a new one before that expires.

    Raises, when called:
        ConfigError: PyJWT is not installed, the key cannot be read, or GitHub refuses.
        TransientError: GitHub does not answer.
    """

    def __init__(self, base: str, owner: str, name: str, *, app: App, patience: Patience | None = None) -> None:
        self._owner = owner
        self._name = name
        self._app = app
        self._patience = patience or Patience()
        self._client = Client(
            base,
            forge="GitHub",
            headers=lambda: headers(self._jwt()),
            permission=lambda _method, _path: f"an installation of App {app.ident} on {owner}/{name}",
            patience=self._patience,
        )
        self._token = ""
        self._expires = float("-inf")

    def __call__(self) -> str:
        if self._patience.clock() > self._expires - _EARLY_S:
            answer = self._mint()
            self._token = answer["token"]
            self._expires = datetime.fromisoformat(answer["expires_at"]).astimezone(UTC).timestamp()
        return self._token

    def _mint(self) -> Any:
        installation = self._app.installation
        if installation is None:
            installation = self._client.get(f"repos/{self._owner}/{self._name}/installation").body["id"]
        path = f"app/installations/{installation}/access_tokens"
        here = {"repositories": [self._name]}
        # Safe to repeat: a token that nobody received expires by itself.
        try:
            return self._client.request("POST", path, body={**here, "permissions": PERMISSIONS}, safe=True).body
        except RefusedError as refused:
            if refused.status != 422:
                raise
        try:
            # One right is missing: with all that there are, the rest works, and what needs it is refused by name.
            return self._client.request("POST", path, body=here, safe=True).body
        except RefusedError as refused:
            if refused.status == 422:
                granted = ", ".join(f"{name} ({level})" for name, level in PERMISSIONS.items())
                raise ConfigError(f"{refused}; grant the App {granted}, and accept it in its installation") from None
            raise

    def _jwt(self) -> str:
        try:
            import jwt
        except ModuleNotFoundError:
            raise ConfigError(
                "a GitHub App needs PyJWT: pip install 'pilot-rollout[app]', or give a ready-made token in PILOT_TOKEN"
            ) from None
        now = int(self._patience.clock())
        try:
            key = self._app.key.read_text()
            claims = {"iat": now - _SKEW_S, "exp": now + _JWT_S, "iss": self._app.ident}
            return jwt.encode(claims, key, algorithm="RS256")
        except OSError as error:
            raise ConfigError(f"private key {self._app.key}: {error.strerror}; set PILOT_APP_KEY") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise ConfigError(f"private key {self._app.key} is no PEM key of RSA; download it from the App") from None
