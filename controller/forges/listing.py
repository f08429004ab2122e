"""The pull requests of one repository, read only as far back as they have changed since the last time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from controller.errors import TransientError
from controller.forges.answers import Answer
from controller.forges.cache import Cache
from controller.ports import CheckState, PrState, PullRequest

CONTEXT = "rollout/evidence"  # the name of our status
FRESH_S = 600.0
_Item = dict[str, Any]


class Listing:
    """
    All items of a list whose pages come with the last changed item first.

    *pages* reads them, *number* and *branch* take those of an item, and *trimmed* keeps of it what is used. Whatever
    changes moves to the front, so that everything behind a page without news is as it was. What the forge does not
    count as a change (a push, a rule of the base branch) is not seen behind that page: `fresh` tells which items were
    read just now.
    """

    def __init__(
        self,
        pages: Callable[[], Iterable[Answer]],
        *,
        what: str,
        number: Callable[[Any], int],
        branch: Callable[[Any], str],
        trimmed: Callable[[Any], _Item],
        cache: Cache,
    ) -> None:
        self._pages = pages
        self._what = what
        self._number = number
        self._branch = branch
        self._trimmed = trimmed
        self._cache = cache
        self.fresh: frozenset[int] = frozenset()

    def read(self, prefix: str) -> list[_Item]:
        """
        The items of branches that start with *prefix*, lowest number first.

        Raises:
            TransientError: the forge counts more of them than it shows.
        """
        root = prefix[: prefix.find("/") + 1]
        key = f"{self._what} below {root!r}"
        known = {int(number): item for number, item in (self._cache.get(key) or {}).items()}
        found, total = self._read(known, root)
        if known and total not in (None, len(found)):
            found, total = self._read({}, root)  # one was deleted, or the pages moved while they were read
        if total not in (None, len(found)):
            raise TransientError(f"{self._what}: {len(found)} of {total} came; the next run reads again")
        if found != known:
            self._cache.put(key, {str(number): item for number, item in found.items()})
        ours = [number for number, item in found.items() if item.get("branch", "").startswith(prefix)]
        return [found[number] for number in sorted(ours) if "branch" in found[number]]

    def _read(self, known: Mapping[int, _Item], root: str) -> tuple[dict[int, _Item], int | None]:
        found: dict[int, _Item] = {}
        total: int | None = None
        for answer in self._pages():
            page = {self._number(item): self._kept(item, root) for item in answer.body}
            found |= page
            total = answer.total if answer.total is not None else total
            if page and all(known.get(number) == item for number, item in page.items()):
                self.fresh = frozenset(found)
                return {**known, **found}, total
        self.fresh = frozenset(found)
        return found, total

    def _kept(self, item: Any, root: str) -> _Item:
        """Of what is none of ours only that it is there, and when it was changed."""
        branch = self._branch(item)
        if not branch.startswith(root):
            return {"updated_at": item["updated_at"]}
        return {**self._trimmed(item), "branch": branch, "updated_at": item["updated_at"]}


class Details:
    """
    What a forge keeps elsewhere of an open pull request: read again when its item in the list has changed, and after
    `FRESH_S` in any case, because a status need not change the item. A failure that is only remembered is read again,
    once by each of these, which is once a pass: taken for true, it would not be reported again where another
    controller has put a success in its place.

    An item that changed less than *settled_s* before its details were read may have changed again without showing it,
    where the forge counts time in such steps; those details are not kept. *clock* gives seconds since the epoch.
    """

    def __init__(self, cache: Cache, what: str, *, clock: Callable[[], float], settled_s: float = 0.0) -> None:
        self._cache = cache
        self._what = what
        self._clock = clock
        self._settled_s = settled_s
        self._read: set[int] = set()

    def of(self, number: int, item: _Item, read: Callable[[], _Item]) -> _Item:
        """The details of pull request *number*, by *read* where they are not known."""
        known = self._cache.get(self._key(number))
        if known and known["item"] == item and 0 <= self._clock() - known["read"] < FRESH_S:
            details: _Item = known["details"]
            check = details.get("check")
            if number in self._read or not (check and check[0] == CheckState.FAILURE.value):
                return details
        now, details = self._clock(), read()
        self._read.add(number)
        if now - instant(item["updated_at"]).timestamp() >= self._settled_s:
            self._cache.put(self._key(number), {"item": item, "read": now, "details": details})
        return details

    def forget(self, number: int) -> None:
        """Unlearn them, because a write of ours may or may not have been done."""
        self._cache.put(self._key(number), None)

    def _key(self, number: int) -> str:
        return f"{self._what} #{number}"


def open_of(branch: str, pulls: Iterable[PullRequest]) -> PullRequest | None:
    """The open one of *branch*, the oldest where there are several: Gitea does not rule that out."""
    return next((pull for pull in pulls if pull.branch == branch and pull.state is PrState.OPEN), None)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
