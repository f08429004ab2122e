"""Who a token acts as."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from controller.forges.client import Client


class Account:
    """
    The account that the token given by *token* belongs to, by `GET /user` of *client*.

    It is asked for once a token, and kept in the client's cache under a digest of it.
    """

    def __init__(self, client: Client, token: Callable[[], str]) -> None:
        self._client = client
        self._token = token

    def id(self) -> int:
        """Its number, which stays when its name changes."""
        digest = hashlib.sha256(self._token().encode()).hexdigest()[:16]
        key = f"{self._client.base}: the account of token {digest}"
        known = self._client.cache.get(key)
        if known is None:
            known = self._client.get("user").body["id"]
            self._client.cache.put(key, known)
        return int(known)
