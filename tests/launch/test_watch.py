"""What a person watches is counted since the stage began, in both arms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace

from controller.launch import watch
from controller.messages.board import Counted
from controller.model import Bucket, Query, Recorded, Series, Window
from tests.facts import NOW, POLICY

STAGE = NOW - timedelta(minutes=30)


class Source:
    """Logins before and after the stage began; nothing else."""

    def read(self, queries: Sequence[Query], window: Window) -> Recorded:
        self.asked = [query.name for query in queries]
        began = int(STAGE.timestamp())
        arms = [(Bucket(began, 7, 7, 7), Bucket(began + 300, n, bad, bad), Bucket(began + 600, 1, 1, 1))
                for n, bad in ((20, 1), (200, 2))]  # fmt: skip
        return Recorded({"login": Series(*arms)})


def test_only_what_came_since_the_stage_began_counts() -> None:
    source = Source()
    reader = SimpleNamespace(source=lambda stack, policy: source)
    window = Window(STAGE - timedelta(days=1), STAGE, NOW)
    counted = watch.count(reader, "prod", POLICY, window)  # type: ignore[arg-type]
    assert source.asked == ["login", "upload", "run", "citations"]
    assert counted["login"] == Counted(21, 2, 201, 3)
    assert counted["upload"] == Counted(0, 0)
