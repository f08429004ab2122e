"""What a forge's API said last, kept so as not to ask for it again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


class Cache:
    """
    JSON values by key, in memory and, with a *folder*, in files that the next process finds.

    It only ever saves requests: an entry that is missing, damaged or cannot be written is as none, and the folder may
    be deleted at any time. Values handed out are shared; nobody changes them.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """The value of *key*, or None."""
        if key not in self._values and self._folder is not None:
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
                found = json.loads(self._path(key).read_bytes())
                if found["key"] == key:
                    self._values[key] = found["value"]
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        self._values[key] = value
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=self._folder, suffix=".new")  # readable by the user alone
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump({"key": key, "value": value}, file)
                os.replace(name, self._path(key))
            except BaseException:
                os.unlink(name)
                raise

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
