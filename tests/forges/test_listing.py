"""A list that is read only as far as it has changed, whatever happens to it while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.errors import TransientError
from controller.forges.answers import Answer
from controller.forges.cache import Cache
from controller.forges.listing import FRESH_S, Details, Listing


@dataclass
class Server:
    """Pages of two, as they are set; `total` is what it counts."""

    pages: list[list[dict[str, Any]]] = field(default_factory=list)
    total: int | None = None
    read: int = 0

    def __call__(self) -> Iterator[Answer]:
        for page in self.pages:
            self.read += 1
            yield Answer(200, page, {"x-total": str(self.total)} if self.total is not None else {})


def item(number: int, updated: int = 0, branch: str = "rollout/prod/a") -> dict[str, Any]:
    return {"n": number, "updated_at": f"2026-03-02T10:{updated:02}:00Z", "branch": branch}


def listing(server: Server, cache: Cache | None = None) -> Listing:
    return Listing(
        server,
        what="things",
        number=lambda found: found["n"],
        branch=lambda found: found["branch"],
        trimmed=lambda found: {"n": found["n"]},
        cache=cache or Cache(),
    )


def numbers(found: list[dict[str, Any]]) -> list[int]:
    return [each["n"] for each in found]


def test_it_is_read_to_the_first_page_without_news() -> None:
    server = Server([[item(5), item(4)], [item(3), item(2)], [item(1)]])
    known = listing(server)
    assert numbers(known.read("rollout/")) == [1, 2, 3, 4, 5]
    server.pages, server.read = [[item(2, 1), item(5)], [item(4), item(3)], [item(1)]], 0

    assert numbers(known.read("rollout/")) == [1, 2, 3, 4, 5]
    assert (server.read, known.fresh) == (2, {2, 3, 4, 5})


def test_what_is_known_outlives_the_process(tmp_path: Any) -> None:
    server = Server([[item(3), item(2)], [item(1)]])
    listing(server, Cache(tmp_path)).read("rollout/")
    server.read = 0

    assert numbers(listing(server, Cache(tmp_path)).read("rollout/")) == [1, 2, 3]
    assert server.read == 1


def test_one_that_slipped_between_pages_is_missed_by_the_count() -> None:
    """While the first page was read, the last item moved to the front: page two repeats 2 and never shows 1."""
    server = Server([[item(3), item(2)], [item(2)]], total=3)

    with pytest.raises(TransientError, match="things: 2 of 3 came; the next run reads again"):
        listing(server).read("rollout/")


def test_where_the_count_is_off_all_is_read_again() -> None:
    server = Server([[item(3), item(2)], [item(1)]], total=3)
    known = listing(server)
    known.read("rollout/")
    server.pages, server.total = [[item(3), item(2)]], 2

    assert numbers(known.read("rollout/")) == [2, 3]


def test_of_other_branches_only_the_number_is_kept() -> None:
    cache = Cache()
    server = Server([[item(2, branch="feature"), item(1)]], total=2)

    assert numbers(listing(server, cache).read("rollout/prod/")) == [1]
    assert list(cache._values.values()) == [
        {"2": {"updated_at": "2026-03-02T10:00:00Z"}, "1": item(1)},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("later_s", "changed", "again"),
    [(0, False, False), (FRESH_S - 1, False, False), (FRESH_S, False, True), (0, True, True), (-1, False, True)],
)
def test_details_are_read_again_when_the_item_changed_or_they_are_old(
    later_s: float, changed: bool, again: bool
) -> None:
    now = [1e10]
    details = Details(Cache(), "things", clock=lambda: now[0])
    details.of(1, item(1), lambda: {"read": 1})
    now[0] += later_s

    assert details.of(1, item(1, int(changed)), lambda: {"read": 2}) == {"read": 1 + int(again)}


def test_details_of_a_change_just_now_are_not_kept() -> None:
    updated = 1772445600.0  # 10:00:00 of the item
    now = [updated + 59]
    details = Details(Cache(), "things", clock=lambda: now[0], settled_s=60)
    assert details.of(1, item(1), lambda: {"read": 1}) == {"read": 1}
    now[0] += 1
    assert details.of(1, item(1), lambda: {"read": 2}) == {"read": 2}
    assert details.of(1, item(1), lambda: {"read": 3}) == {"read": 2}


def test_forgotten_details_are_read_again() -> None:
    details = Details(Cache(), "things", clock=lambda: 1e10)
    details.of(1, item(1), lambda: {"read": 1})
    details.forget(1)

    assert details.of(1, item(1), lambda: {"read": 2}) == {"read": 2}


def test_a_list_that_is_empty_now_holds_nothing() -> None:
    server = Server([[item(1)]])
    known = listing(server)
    known.read("rollout/")
    server.pages = [[]]

    assert known.read("rollout/") == []
