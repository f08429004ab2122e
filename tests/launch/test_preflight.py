"""A launch needs a preflight: each line that is not so is named, and the pass that decides reads the result from Git."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import observe, readiness
from controller.errors import ConfigError
from controller.launch import preflight
from controller.model import CheckResult, Deployment, Readiness, Unreadable, Verdict
from controller.ports import Ci, CiState, RefUpdate
from tests.facts import NOW, ready
from tests.memory import by_hand
from tests.world import MemoryWorld

CHECKLIST = "readiness/Pilot_Launch_Command_Checklist_7Day.md"
TEXT = "# Before\n- [x] Team notified\n1. [X] Window agreed\n"


class Launch(MemoryWorld):
    """Prod before its launch, with all done that a launch needs."""

    def __init__(self) -> None:
        super().__init__()
        self.edit("rollout.yaml", "    stacks: []", "    stacks: [prod]")
        for role in ("support", "technical", "qa"):
            self.edit("rollout.yaml", f'{role}: ""', f"{role}: Sam")
        self.edit("Pulumi.staging.yaml", "percent: 0 ", "percent: 100 ")
        self.up("staging")
        self.write(CHECKLIST, TEXT)
        self.wait(hours=1)
        preflight.save(self.reader, readiness.drill_ref("staging"), self.drilled(), "drill")

    def _open(self) -> None:
        super()._open()
        self.forge.ci = lambda oid, without=(): Ci(CiState.GREEN, "3 jobs green")  # type: ignore[method-assign]
        self.tried: list[str] = []
        self.deaf: list[str] = []
        self.way_back: str | None = "api:1"
        self.broken: set[str] = set()

    def drilled(self, *, ok: bool = True) -> Readiness:
        return Readiness("", self.now, "Ana", (CheckResult("Kill", ok, "0 % live after 3 s", 3.0),))

    def write(self, path: str, text: str) -> None:
        by_hand(self.git, {path: text.encode()}, "write", self.now)

    def perform(self, check: preflight.Check) -> CheckResult:
        self.tried.append(check.title)
        return CheckResult(check.title, check.title not in self.broken, "tried", 0.1)

    def preflight(self, **options: bool) -> preflight.Made:
        means = preflight.Means(
            self.reader, self.forge, lambda declared: self.way_back, self.perform, lambda policy: self.deaf
        )
        return preflight.make(means, stack="prod", now=self.now, by="Omar", **options)


@pytest.fixture(scope="module")
def begun() -> Launch:
    return Launch()


@pytest.fixture
def world(begun: Launch) -> Launch:
    return begun.copied()


def test_a_passed_preflight_opens_the_launch_and_is_its_checklist(world: Launch) -> None:
    held = world.reconcile()["prod"].decision
    assert held is not None
    assert held.reasons[0] == "preflight: none was made; run pilot preflight --stack prod"
    assert world.open("prod") == []

    made = world.preflight()
    assert made.found.failed == ()
    assert made.decision.verdict is Verdict.ADVANCE
    assert world.tried == ["Dashboard", "E2E smoke test", "Health"]

    world.reconcile()
    (pr,) = world.open("prod")
    assert pr.check is not None
    assert pr.check[0] == "success"
    assert f"Run by Omar at {world.now:%Y-%m-%d %H:%M} UTC" in pr.body
    for line in ("- [x] People named", "- [x] E2E smoke test: tried", "- [x] CI of the commit: "):
        assert line in pr.body


def test_the_launch_is_closed_again_when_its_preflight_no_longer_holds(world: Launch) -> None:
    world.preflight()
    world.reconcile()
    (pr,) = world.open("prod")

    world.broken = {"Health"}
    world.wait(hours=1)
    world.preflight()
    world.reconcile()
    (pr,) = world.open("prod")
    assert pr.check is not None
    assert (pr.check[0], "Health: tried" in pr.check[1]) == ("failure", True)

    world.broken = set()
    world.preflight()
    world.reconcile()
    (pr,) = world.open("prod")
    assert pr.check is not None
    assert pr.check[0] == "success"


def test_another_image_asks_for_another_preflight(world: Launch) -> None:
    world.preflight()
    for stack in ("staging", "prod"):
        world.edit(f"Pulumi.{stack}.yaml", "@sha256:0a17", "@sha256:1b28")
        world.up(stack)
    held = world.reconcile()["prod"].decision
    assert held is not None
    assert any("was of another image" in reason for reason in held.reasons)
    assert world.open("prod") == []


def _staging(**changes: object) -> Callable[[Launch], None]:
    def change(world: Launch) -> None:
        for cluster, live in list(world.live.applied.items()):
            if "staging" in cluster:
                world.live.applied[cluster] = replace(live, **changes)  # type: ignore[arg-type]

    return change


def _unreadable(world: Launch) -> None:
    for cluster in world.live.applied:
        if "staging" in cluster:
            world.live.broken[cluster] = Unreadable("denied")


def _silent(world: Launch) -> None:
    world.sources["staging"].silent = True


def _low(world: Launch) -> None:
    world.sources["staging"].bad = {"mic_grant": 0.2}


def _grown_old(world: Launch) -> None:
    world.wait(days=8)


def _tried_in_vain(world: Launch) -> None:
    preflight.save(world.reader, readiness.drill_ref("staging"), world.drilled(ok=False), "drill")


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (lambda w: w.edit("rollout.yaml", "support: Sam", 'support: ""'),
         {"People named": "nobody is named for support; fill in operations.people in rollout.yaml"}),
        (lambda w: w.deaf.append("channel launch: PILOT_CHANNEL_LAUNCH is not set"),
         {"Channels": "channel launch: PILOT_CHANNEL_LAUNCH is not set"}),
        (lambda w: w.write(CHECKLIST, TEXT + "- [ ] Firms approved\n```\n- [ ] an example\n```\n* [ ] Dates set\n"),
         {"Firms approved": f"open in {CHECKLIST}:4; tick it, and commit",
          "Dates set": f"open in {CHECKLIST}:8; tick it, and commit"}),
        (lambda w: w.write(CHECKLIST, "nothing\n"), {"Checklist": f"{CHECKLIST} has no task box (- [ ] …)"}),
        (lambda w: w.edit("rollout.yaml", CHECKLIST, "none.md"), {"Checklist": "none.md is not in the repository at "}),
        (lambda w: delattr(w.forge, "ci"), {"CI of the commit": "a local forge has no CI to ask; without a CI, take "
                                            "ci: true out of operations.preflight"}),
        (_staging(flags={"micPrompt": "native"}), {"staging: flags work": "set micPrompt primer, found native: run "
                                                   "pulumi up --stack staging"}),
        (_staging(percent=50), {"staging: deployment": "another image or percent is live than declared; run pulumi up "
                                "--stack staging"}),
        (_staging(deployment=Deployment.FAILED, detail="tasks do not start"),
         {"staging: deployment": "failed: tasks do not start"}),
        (_unreadable, {"staging: deployment": "live state unknown: denied",
                       "staging: flags work": "live state unknown: denied"}),
        (_silent, {f"staging: {title}": "no samples since the stage began"
                   for title in ("Time to value, p50", "Time to value, p90", "Mic grant")}),
        (_low, {"staging: Mic grant": "80 % of "}),
        (_tried_in_vain, {"Kill switch tried": "Kill: 0 % live after 3 s"}),
        (_grown_old, {"Kill switch tried": "more than 7d ago; run pilot preflight --stack prod --drill"}),
        (lambda w: setattr(w, "way_back", None),
         {"Way back": "no deployment has completed yet; a rollback would have none to go back to"}),
        (lambda w: w.broken.add("E2E smoke test"), {"E2E smoke test": "tried"}),
    ],
    ids=["people", "channel", "checklist", "no-box", "no-checklist", "no-ci", "flags", "not-applied", "failed",
         "unreadable", "no-samples", "low-grant", "drill-failed", "drill-old", "no-way-back", "smoke"],
)  # fmt: skip
def test_each_thing_that_is_not_so_is_named_and_lets_nobody_in(
    world: Launch, change: Callable[[Launch], object], failed: dict[str, str]
) -> None:
    change(world)
    found = {item.title: item.words for item in world.preflight().found.failed}
    assert found.keys() == failed.keys()
    for title, words in failed.items():
        assert words in found[title]
    world.reconcile()
    assert world.open("prod") == []


def test_what_is_not_kept_lets_nobody_in(world: Launch) -> None:
    assert world.preflight(keep=False).found.failed == ()
    world.reconcile()
    assert world.open("prod") == []


def test_a_stack_that_the_policy_does_not_name_has_no_preflight(world: Launch) -> None:
    world.edit("rollout.yaml", "    stacks: [prod]", "    stacks: []")
    with pytest.raises(ConfigError, match="asks for no preflight of prod"):
        world.preflight()


def test_a_misspelt_stack_does_not_drop_the_gate(world: Launch) -> None:
    world.preflight()
    world.edit("rollout.yaml", "    stacks: [prod]", "    stacks: [prd]")
    held = world.reconcile()["prod"].decision
    assert held is not None
    assert "operations.preflight.stacks: prd: there is no Pulumi.prd.yaml" in held.reasons[0]


# ---------------------------------------------------------------- as it is kept


def test_what_is_kept_is_read_back(world: Launch) -> None:
    ref = readiness.ref("prod")
    assert observe.ready(world.git, ref) is None
    found = world.preflight().found
    kept = observe.ready(world.git, ref)
    assert kept == replace(found, items=tuple(replace(i, seconds=round(i.seconds, 1)) for i in found.items))


def test_whoever_pushes_nonsense_lets_nobody_in(world: Launch) -> None:
    ref, tip = readiness.ref("prod"), world.git.sync()
    world.git.push([RefUpdate(ref, None, tip)])
    assert observe.ready(world.git, ref) is None
    made = world.preflight()
    assert observe.ready(world.git, ref) is not None
    assert made.decision.verdict is Verdict.ADVANCE


@settings(max_examples=30, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists) | st.binary())
def test_nothing_that_is_read_raises(value: object) -> None:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    assert readiness.parse(data) is None
    told = json.loads(readiness.render(ready()))
    for key in ("at", "items"):
        assert readiness.parse(json.dumps({**told, key: None}).encode()) is None


def test_no_checks_are_no_preflight() -> None:
    assert readiness.parse(readiness.render(replace(ready(), items=()))) is None
    assert readiness.age(ready(at=NOW + timedelta(minutes=4)), NOW) == timedelta(0)
    assert readiness.age(ready(at=NOW + timedelta(minutes=6)), NOW) is None
