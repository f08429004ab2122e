"""Stories of the loop: what pull requests and refs there are afterwards. Those that are about Git have real Git."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest

from controller import observe, stackfile
from controller import reconcile as loop
from controller.errors import ConfigError, TransientError
from controller.messages import proposals, pull_request
from controller.model import Deployment, Unreadable, Verdict
from controller.ports import CheckState, PrState, RefUpdate
from tests.memory import by_hand
from tests.world import MemoryWorld, ScriptedSource, World, verdicts


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


@pytest.fixture(scope="module")
def reached_20() -> MemoryWorld:
    world = MemoryWorld()
    world.reach(20)
    return world


@pytest.fixture
def at_20(reached_20: MemoryWorld) -> MemoryWorld:
    """Prod at 20 %, live for a day, staging at 100 %."""
    return reached_20.copied()


@pytest.fixture(scope="module")
def reached_10(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("at-10"))
    world.reach(10)
    world.save()
    return world


@pytest.fixture
def real(reached_10: World, tmp_path: Path) -> World:
    """Prod at 10 %, live for a day, on real Git."""
    shutil.copytree(reached_10.folder, tmp_path, dirs_exist_ok=True)
    return World.reopened(tmp_path)


def test_a_healthy_pilot_goes_to_100_by_merged_pull_requests(world: MemoryWorld) -> None:
    """Nothing but pull requests moves the percent, and staging goes first."""
    world.reach(100)

    merged = [pr.title for pr in world.pulls("prod", PrState.MERGED)]
    assert merged == [
        "rollout(prod): 0% -> 10%",
        "rollout(prod): 10% -> 20%",
        "rollout(prod): 20% -> 50%",
        "rollout(prod): 50% -> 100%",
    ]
    assert world.pulls("prod", PrState.CLOSED, PrState.OPEN) == []
    assert world.percent("staging") == 100
    assert [step.after.rollout.percent for step in observe.past(world.git, world.git.sync(), "prod").steps] == [
        100, 50, 20, 10, 0,
    ]  # fmt: skip


def test_prod_waits_until_staging_is_ahead(world: MemoryWorld) -> None:
    """The first pass proposes staging only, and says so."""
    outcomes = world.reconcile()

    assert verdicts(outcomes) == {"staging": Verdict.ADVANCE, "prod": Verdict.HOLD}
    assert outcomes["prod"].decision is not None
    assert outcomes["prod"].decision.reasons == ("staging goes first: 0 % < 10 %",)
    assert world.open("prod") == []


def test_a_pass_without_news_writes_nothing(at_20: MemoryWorld) -> None:
    """Neither while holding nor with a proposal open does a second pass touch a ref."""
    at_20.reconcile()
    before = at_20.refs()
    at_20.wait(minutes=5)
    assert at_20.reconcile()["prod"].actions == ()
    assert at_20.refs() == before

    at_20.wait(days=5)
    at_20.reconcile()
    assert len(at_20.open("prod")) == 1
    before = at_20.refs()
    at_20.wait(minutes=5)
    at_20.reconcile()
    assert at_20.refs() == before


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(world: MemoryWorld) -> None:
    """The same decision, no effect."""
    before = world.refs()

    outcomes = world.reconcile(dry_run=True)

    assert outcomes["staging"].actions == ("would have opened rollout(staging): 0% -> 10%",)
    assert world.refs() == before


def test_a_revert_restores_the_bytes_before_the_advance(at_20: MemoryWorld) -> None:
    """Down to the last byte of the stack file, where the advance changed nothing else."""
    before = at_20.git.history(at_20.git.sync(), "Pulumi.prod.yaml")[1].data
    at_20.sources["prod"].bad = {"mic_grant": 0.6, "activation": 0.95}

    outcome = at_20.reconcile()["prod"]
    assert outcome.pull_request is not None
    at_20.merge(outcome.pull_request)

    assert at_20.file("prod") == before
    assert at_20.pulls("prod")[-1].title == "rollout(prod): 20% -> 10% (revert)"


def test_a_rollback_trigger_goes_to_0_and_overtakes_an_open_advance(at_20: MemoryWorld) -> None:
    """The advance is closed with the reason, its branch is gone, the revert is open and may be merged."""
    at_20.wait(days=5)
    at_20.reconcile()
    (advance,) = at_20.open("prod")
    at_20.sources["prod"].bad = {"trigger:legal_defect": 1.0}

    at_20.reconcile()

    (revert,) = at_20.open("prod")
    assert revert.title == "rollout(prod): 20% -> 0% (revert)"
    assert revert.check is not None
    assert revert.check[0] is CheckState.SUCCESS
    closed = next(pr for pr in at_20.pulls("prod") if pr.number == advance.number)
    assert closed.state is PrState.CLOSED
    marker = proposals.parse(closed.body)
    assert marker is not None
    assert marker.closed_reason.startswith(f"overtaken by a revert, #{revert.number}: legal_defect fired")
    assert advance.branch not in at_20.git.branches("")


def test_yesterdays_proposal_does_not_merge_todays_bad_news(at_20: MemoryWorld) -> None:
    """The check of an open advance fails as soon as the evidence no longer carries it, and recovers with it."""
    at_20.wait(days=5)
    at_20.reconcile()
    (pr,) = at_20.open("prod")
    at_20.sources["prod"].silent = True
    at_20.wait(minutes=5)
    at_20.reconcile()

    with pytest.raises(ConfigError, match="rollout/evidence is failure"):
        at_20.merge(pr.number)

    at_20.sources["prod"].silent = False
    at_20.wait(minutes=5)
    at_20.reconcile()
    at_20.merge(pr.number)
    assert at_20.percent("prod") == 50


def test_a_proposal_whose_evidence_aged_out_is_closed_and_not_taken_for_a_veto(
    at_20: MemoryWorld,
) -> None:
    """Held for over a day, it is closed with the reason; when the evidence is back, a new one comes."""
    at_20.wait(days=5)
    at_20.reconcile()
    (old,) = at_20.open("prod")
    at_20.sources["prod"].silent = True
    at_20.wait(hours=25)
    at_20.reconcile()
    assert at_20.open("prod") == []

    at_20.sources["prod"].silent = False
    at_20.wait(minutes=5)
    at_20.reconcile()

    (new,) = at_20.open("prod")
    assert new.number > old.number
    assert new.title == old.title


def test_closing_a_pull_request_is_a_veto_until_the_file_changes(at_20: MemoryWorld) -> None:
    """The controller names who closed it and does not ask again; a person who changes a value there lifts it."""
    at_20.wait(days=5)
    at_20.reconcile()
    (pr,) = at_20.open("prod")
    at_20.forge.close_by_person(pr.number, "Bo", at_20.now)
    at_20.wait(days=1)

    outcome = at_20.reconcile()["prod"]

    assert outcome.decision is not None
    assert outcome.decision.reasons[0].startswith(f"Bo closed #{pr.number} at ")
    assert at_20.open("prod") == []

    at_20.edit("Pulumi.prod.yaml", "    exposure:", "    # we talked\n    exposure:")
    at_20.reconcile()
    assert at_20.open("prod") == []

    at_20.edit("Pulumi.prod.yaml", 'hold: ""', 'hold: "we talk"')
    at_20.edit("Pulumi.prod.yaml", 'hold: "we talk"', 'hold: ""')
    at_20.reconcile()
    assert [pr.title for pr in at_20.open("prod")] == ["rollout(prod): 20% -> 50%"]


@pytest.mark.parametrize("hours", [0.1, 25, 24 * 9])
def test_an_open_revert_waits_for_a_person_whatever_the_evidence_does(at_20: MemoryWorld, hours: float) -> None:
    """The burst ends, the source dies, days pass: it stays open and mergeable, and nothing is advanced meanwhile."""
    at_20.sources["prod"].bad = {"trigger:api_errors": 0.5}
    at_20.reconcile()
    (revert,) = at_20.open("prod")
    at_20.sources["prod"].bad = {}
    at_20.sources["prod"].down = TransientError("events API answered 503")
    at_20.wait(hours=hours)
    at_20.reconcile()
    at_20.sources["prod"].down = None
    at_20.reconcile()

    assert [pr.number for pr in at_20.open("prod")] == [revert.number]
    at_20.merge(revert.number)
    assert at_20.percent("prod") == 0


def test_a_deeper_revert_replaces_a_shallower_one_and_not_the_other_way(at_20: MemoryWorld) -> None:
    """20 -> 10 gives way to 20 -> 0; 20 -> 0 stays when only 20 -> 10 would be asked for."""
    at_20.sources["prod"].bad = {"activation": 0.95, "ttv_p50": 1.0}
    at_20.reconcile()
    assert [pr.title for pr in at_20.open("prod")] == ["rollout(prod): 20% -> 10% (revert)"]
    at_20.sources["prod"].bad["trigger:legal_defect"] = 1.0
    at_20.reconcile()
    assert [pr.title for pr in at_20.open("prod")] == ["rollout(prod): 20% -> 0% (revert)"]
    del at_20.sources["prod"].bad["trigger:legal_defect"]
    at_20.reconcile()

    assert [pr.title for pr in at_20.open("prod")] == ["rollout(prod): 20% -> 0% (revert)"]


def test_a_redeployment_of_the_same_keeps_what_the_triggers_saw(world: MemoryWorld) -> None:
    """`since` moves, `applied` does not: the legal defect of an hour ago still rolls back."""
    world.reach(10)
    begun = world.now
    world.wait(hours=1)
    world.live.applied["ontogra-cluster"] = replace(
        world.live.applied["ontogra-cluster"], since=world.now, applied=begun
    )
    world.sources["prod"].bad = {"trigger:legal_defect": 1.0}
    world.sources["prod"].seen_at = begun + timedelta(minutes=30)

    world.reconcile()

    assert [pr.title for pr in world.open("prod")] == ["rollout(prod): 10% -> 0% (revert)"]


def test_a_revert_merged_by_fast_forward_or_merge_commit_is_still_the_controllers(real: World) -> None:
    """Its commit is dated long ago or wrapped in a merge: cool-down counts from when it is live, and no person acted."""
    real.sources["prod"].bad = {"activation": 0.95, "ttv_p50": 1.0}
    real.wait(days=3)
    real.reconcile()
    (revert,) = real.open("prod")
    real.run("git", "clone", "-q", str(real.remote), str(real.folder / "clone"))
    clone = real.folder / "clone"
    real.run("git", "merge", "-q", "--no-ff", "-m", "take it back", f"origin/{revert.branch}", cwd=clone)
    real.run("git", "push", "-q", "origin", "main", f":{revert.branch}", cwd=clone)
    real.up("prod")
    real.sources["prod"].bad = {}
    real.wait(hours=2)

    held = real.reconcile()["prod"].decision

    assert held is not None
    assert held.reasons[0].startswith("cool-down after the revert until")
    assert not any("reverted 10 % to 0 %" in reason for reason in held.reasons)


def test_a_closing_that_was_cut_short_is_finished(at_20: MemoryWorld) -> None:
    """The reason is marked first; the next pass closes, and a person's later veto is not confused with it."""
    at_20.wait(days=5)
    at_20.reconcile()
    (pr,) = at_20.open("prod")
    at_20.forge.edit(pr.number, body=pull_request.closed_body(pr.body, "superseded"))

    at_20.reconcile()
    assert at_20.pulls("prod", PrState.CLOSED)[-1].body.count("**Closed by the controller") == 1
    (again,) = at_20.open("prod")
    at_20.forge.close_by_person(again.number, "Bo", at_20.now)
    at_20.reconcile()

    assert again.number != pr.number
    assert at_20.open("prod") == []


def test_staging_that_says_nothing_is_not_healthy(world: MemoryWorld) -> None:
    """Just live at 10 % with its source down: prod waits."""
    world.reconcile()
    world.merge(world.open("staging")[0].number)
    world.up("staging")
    world.sources["staging"].down = TransientError("503")
    world.wait(minutes=5)

    outcome = world.reconcile()["prod"]

    assert outcome.decision is not None
    assert outcome.decision.reasons[0] == "staging goes first: no evidence: 503"
    assert world.open("prod") == []


def test_a_stack_in_the_policy_without_a_file_holds(at_20: MemoryWorld) -> None:
    """A misspelt name would drop the gate between the stacks without a word."""
    at_20.wait(days=5)
    at_20.edit("rollout.yaml", "  prod:\n    after", "  prodd:\n    after")

    outcome = at_20.reconcile()["prod"]

    assert outcome.decision is not None
    assert "stacks.prodd: there is no Pulumi.prodd.yaml" in outcome.decision.reasons[0]
    assert at_20.open("prod") == []


def test_a_slip_in_the_policy_stops_no_revert(at_20: MemoryWorld) -> None:
    """The last readable policy judges meanwhile: it holds every advance, says why, and still rolls back."""
    at_20.wait(days=5)
    at_20.edit("rollout.yaml", "above: 2%", "above: 2")

    held = at_20.reconcile()

    assert held["prod"].decision is not None
    assert (
        held["prod"].decision.reasons[0].startswith("the policy is wrong, and only reverts are proposed: rollout.yaml:")
    )
    assert at_20.open("prod") == []
    assert loop.exit_code(list(held.values())) == 2

    at_20.sources["prod"].bad = {"trigger:legal_defect": 1.0}
    at_20.reconcile()
    assert [pr.title for pr in at_20.open("prod")] == ["rollout(prod): 20% -> 0% (revert)"]


def test_many_malformed_records_hold(at_20: MemoryWorld) -> None:
    """What cannot be read may be the bad ones."""
    at_20.wait(days=5)
    at_20.sources["prod"].malformed = 500

    outcome = at_20.reconcile()["prod"]

    assert outcome.decision is not None
    assert outcome.decision.reasons[0].startswith("500 malformed records beside ")
    assert at_20.open("prod") == []


def test_a_declined_revert_is_said_and_not_repeated(at_20: MemoryWorld) -> None:
    """A person may decline even a revert; every pass says so."""
    at_20.sources["prod"].bad = {"trigger:legal_defect": 1.0}
    at_20.reconcile()
    (pr,) = at_20.open("prod")
    at_20.forge.close_by_person(pr.number, "Bo", at_20.now)

    outcome = at_20.reconcile()["prod"]

    assert outcome.decision is not None
    assert outcome.decision.verdict is Verdict.REVERT
    assert outcome.actions[0].startswith(f"Bo closed #{pr.number}")
    assert at_20.open("prod") == []


def test_a_branch_that_a_person_edited_is_left_alone(at_20: MemoryWorld) -> None:
    """One comment, no push, no close; a revert still goes its own way beside it."""
    at_20.wait(days=5)
    at_20.reconcile()
    (pr,) = at_20.open("prod")
    edited = at_20.edit("Pulumi.prod.yaml", "percent: 50", "percent: 30", branch=pr.branch)
    at_20.reconcile()
    at_20.reconcile()

    (same,) = at_20.open("prod")
    assert (same.number, same.head, len(same.comments)) == (pr.number, edited, 1)

    at_20.sources["prod"].bad = {"trigger:legal_defect": 1.0}
    at_20.reconcile()
    assert [item.title for item in at_20.open("prod")][1:] == ["rollout(prod): 20% -> 0% (revert)"]
    assert at_20.open("prod")[0].head == edited


def test_a_comment_of_a_person_on_the_branch_makes_it_theirs_too(at_20: MemoryWorld) -> None:
    """Judged by bytes, not by values."""
    at_20.wait(days=5)
    at_20.reconcile()
    (pr,) = at_20.open("prod")
    at_20.edit("Pulumi.prod.yaml", "    exposure:", "    # mine\n    exposure:", branch=pr.branch)

    at_20.reconcile()

    assert len(at_20.open("prod")[0].comments) == 1


def test_a_foreign_pull_request_is_not_ours(at_20: MemoryWorld) -> None:
    """A branch of our name without our marker is neither adopted nor closed."""
    at_20.edit("Pulumi.prod.yaml", "percent: 20", "percent: 30", branch="main")
    tip = at_20.git.sync()
    assert at_20.git.push([RefUpdate("refs/heads/rollout/prod/mine", None, tip)])
    foreign = at_20.forge.open(branch="rollout/prod/mine", title="mine", body="by hand <!-- rollout:v1 e30= -->")

    at_20.reconcile()

    assert [pr.number for pr in at_20.open("prod")] == [foreign.number]
    assert at_20.open("prod")[0].body == foreign.body


def test_a_persons_git_revert_is_the_last_word(real: World) -> None:
    """No new proposal until a person changes the file again."""
    real.run("git", "fetch", "-q", str(real.remote), "main")
    real.run("git", "checkout", "-q", "-B", "work", "FETCH_HEAD")
    real.run("git", "revert", "--no-edit", "HEAD")
    real.run("git", "push", "-q", str(real.remote), "work:main")
    real.up("prod")
    real.wait(days=20)

    outcome = real.reconcile()["prod"]

    assert real.percent("prod") == 0
    assert real.open("prod") == []
    assert outcome.decision is not None
    assert outcome.decision.reasons[0].startswith("Ana reverted 10 % to 0 %")


def test_the_undo_command_of_a_merged_pull_request_works(real: World) -> None:
    """The command in the body, run literally, restores the file."""
    pr = real.pulls("prod", PrState.MERGED)[-1]
    command = next(line for line in pr.body.splitlines() if line.startswith("git revert"))
    before = real.run("git", "show", "main^:Pulumi.prod.yaml", cwd=real.remote)
    real.run("git", "clone", "-q", str(real.remote), str(real.folder / "clone"))

    real.run("sh", "-ec", command, cwd=real.folder / "clone")

    assert (real.folder / "clone" / "Pulumi.prod.yaml").read_text() == before


def test_not_applied_holds_and_says_what_to_run(at_20: MemoryWorld) -> None:
    """Declared and live differ."""
    at_20.wait(days=5)
    at_20.reconcile()
    at_20.merge(at_20.open("prod")[0].number)
    at_20.wait(days=10)

    outcome = at_20.reconcile()["prod"]

    assert outcome.decision is not None
    assert outcome.decision.reasons[0] == "percent declared 50 %, live 20 %: run pulumi up --stack prod"
    assert at_20.open("prod") == []


@pytest.mark.parametrize("trouble", [TransientError("503"), ConfigError("401")])
def test_a_source_that_fails_holds_with_its_words(at_20: MemoryWorld, trouble: TransientError | ConfigError) -> None:
    """No evidence is a reason to hold, not an error of the pass."""
    at_20.wait(days=5)
    at_20.sources["prod"].down = trouble

    outcome = at_20.reconcile()["prod"]

    assert outcome.error is None
    assert outcome.decision is not None
    assert outcome.decision.reasons[0] == f"no evidence: {trouble}"


def test_a_gap_that_is_over_restarts_evidence_and_bake(at_20: MemoryWorld) -> None:
    """What was missed may have been bad: five whole days after it, not before."""
    at_20.wait(days=4)
    gap = (at_20.now - timedelta(hours=2), at_20.now - timedelta(hours=1))
    at_20.sources["prod"].gaps = (gap,)
    at_20.wait(days=4)
    held = at_20.reconcile()["prod"]
    at_20.wait(days=1)
    at_20.reconcile()

    assert held.decision is not None
    assert "since a gap in the events ended" in held.decision.reasons[0]
    assert held.decision.window.stage == gap[1]
    assert [pr.title for pr in at_20.open("prod")] == ["rollout(prod): 20% -> 50%"]


def test_a_gap_that_is_not_over_holds(at_20: MemoryWorld) -> None:
    """The last poll missed events: incomplete, whatever the rest says."""
    at_20.wait(days=6)
    at_20.sources["prod"].gaps = ((at_20.now - timedelta(minutes=10), at_20.now),)

    outcome = at_20.reconcile()["prod"]

    assert outcome.decision is not None
    assert "events may be missing from" in outcome.decision.reasons[0]
    assert at_20.open("prod") == []


def test_aws_that_cannot_be_read_holds_and_another_stack_goes_on(world: MemoryWorld) -> None:
    """A missing permission in prod does not keep staging from advancing."""
    world.live.broken["ontogra-cluster"] = Unreadable("ecs:DescribeServices: AccessDenied")

    outcomes = world.reconcile()

    assert outcomes["prod"].decision is not None
    assert outcomes["prod"].decision.reasons[0] == "live state unknown: ecs:DescribeServices: AccessDenied"
    assert len(world.open("staging")) == 1


def test_a_broken_stack_file_does_not_stop_the_other_stack(at_20: MemoryWorld) -> None:
    """The error is the stack's own outcome, and the exit code asks for a person."""
    at_20.edit("Pulumi.staging.yaml", "percent: 100", "percent: ninety")
    at_20.sources["prod"].bad = {"trigger:legal_defect": 1.0}

    outcomes = at_20.reconcile()

    assert isinstance(outcomes["staging"].error, ConfigError)
    assert "Pulumi.staging.yaml:" in str(outcomes["staging"].error)
    assert [pr.title for pr in at_20.open("prod")] == ["rollout(prod): 20% -> 0% (revert)"]
    assert loop.exit_code(list(outcomes.values())) == 2


@pytest.mark.parametrize("way", ["broken", "gone"])
def test_an_advance_of_a_stack_that_cannot_be_judged_does_not_stay_green(at_20: MemoryWorld, way: str) -> None:
    """Its file is broken, or removed: what the last pass found says nothing now."""
    at_20.wait(days=5)
    at_20.reconcile()
    if way == "broken":
        at_20.edit("Pulumi.prod.yaml", "percent: 20", "percent: twenty")
    else:
        by_hand(at_20.git, {"Pulumi.prod.yaml": None}, "gone", at_20.now)

    at_20.reconcile(dry_run=True)
    at_20.reconcile(stacks=("staging",))
    assert [pr.check and pr.check[0] for pr in at_20.open("prod")] == [CheckState.SUCCESS]
    at_20.reconcile()

    assert [pr.check and pr.check[0] for pr in at_20.open("prod")] == [CheckState.FAILURE]
    before = at_20.refs()
    at_20.reconcile()
    assert at_20.refs() == before


def test_an_advance_does_not_stay_green_where_no_policy_can_be_read(at_20: MemoryWorld) -> None:
    """Nothing is judged then; a dry run and a pass over one stack write nothing."""
    at_20.wait(days=5)
    at_20.reconcile()
    by_hand(at_20.git, {"rollout.yaml": None}, "gone", at_20.now)

    for options in ({"dry_run": True}, {"stacks": ("prod",)}, {}):
        assert [pr.check and pr.check[0] for pr in at_20.open("prod")] == [CheckState.SUCCESS]
        with pytest.raises(ConfigError, match=r"rollout.yaml is missing"):
            at_20.reconcile(**options)
    assert [pr.check and pr.check[0] for pr in at_20.open("prod")] == [CheckState.FAILURE]


def test_a_failed_deployment_holds(at_20: MemoryWorld) -> None:
    """The circuit breaker's word counts."""
    at_20.wait(days=5)
    service = at_20.live.applied["ontogra-cluster"]
    at_20.live.applied["ontogra-cluster"] = replace(service, deployment=Deployment.FAILED, detail="breaker")

    outcome = at_20.reconcile()["prod"]

    assert outcome.decision is not None
    assert outcome.decision.reasons[0] == "deployment failed: breaker"


def test_an_unknown_stack_is_refused_with_those_that_exist(world: MemoryWorld) -> None:
    """A misspelt --stack must not silently do nothing."""
    with pytest.raises(ConfigError, match=r"no Pulumi.prd.yaml; stacks here: staging, prod"):
        world.reconcile(stacks=("prd",))


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([], 0),
        ([TransientError("x")], 75),
        ([TransientError("x"), ConfigError("y")], 2),
        ([ValueError("z")], 2),
    ],
)
def test_exit_codes(errors: list[Exception], code: int) -> None:
    """A person's part outweighs a retry."""
    assert loop.exit_code([loop.Outcome("a", error=error) for error in errors] + [loop.Outcome("b")]) == code


def test_of_several_errors_the_one_that_a_person_must_mend_is_told() -> None:
    first, second = TransientError("x"), ConfigError("y")
    assert loop._worst([first, second]) is second
    assert loop._worst([first]) is first
    assert loop._worst([]) is None


# ---------------------------------------------------------------- races, and whose turn it is


def test_two_passes_at_once_leave_one_pull_request(real: World) -> None:
    """On one repository, at the same instant with clocks a minute apart: one branch, one open pull request."""
    real.wait(days=5)
    real.save()
    barrier = Barrier(2)

    def one_pass(minutes: int) -> None:
        world = World.reopened(real.folder)
        world.wait(minutes=minutes)
        barrier.wait()
        world.reconcile()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one_pass, range(2)))

    assert len(real.pulls("prod", PrState.OPEN)) == 1
    assert len(real.git.branches("rollout/prod/")) == 1


def test_reverts_are_written_before_advances_and_these_are_capped(
    world: MemoryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a forge takes in one pass goes to the stack that needs it most, whatever its name; the rest comes next."""
    data = world.file("staging").decode()
    cluster = stackfile.read(data.encode(), name="staging").service.cluster
    stacks = ("aa", "ab", "ac")
    world.reach(10)
    texts = {stack: data.replace(f"cluster: {cluster}", f"cluster: {stack}") for stack in stacks}
    files = {f"Pulumi.{stack}.yaml": text.encode() for stack, text in texts.items()}
    by_hand(world.git, files, "more stacks", world.now)
    for stack in stacks:
        world.sources[stack] = ScriptedSource()
        world.up(stack)
    world.sources["prod"].bad = {"trigger:legal_defect": 1.0}
    monkeypatch.setattr(loop, "ADVANCES_A_PASS", 1)

    assert list(verdicts(world.reconcile())) == ["aa", "ab", "ac", "staging", "prod"]

    opened = [pr for stack in stacks for pr in world.open(stack)]
    (revert,) = world.open("prod")
    assert len(opened) == 1
    assert revert.number < opened[0].number
    world.reconcile()
    assert len([pr for stack in stacks for pr in world.open(stack)]) == 2
