"""`pilot drift` and `pilot preview` with the real engine on the local AWS, told as stories."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller import cli
from controller.rehearsal.localcloud import Engine, LocalAws

ROOT = Path(__file__).parents[2]
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
StackFile = Callable[..., bytes]


class Shop:
    """A project folder whose stack `staging` is applied, and the command line in it."""

    def __init__(self, cloud: LocalAws, engine: Engine, folder: Path, write: StackFile, **settings: Any) -> None:
        self.cloud, self.engine, self.folder = cloud, engine, folder
        self._write, self._settings = write, {"network": cloud.network(), **settings}
        shutil.copy(ROOT / "Pulumi.yaml", folder)
        (folder / "infra").symlink_to(ROOT / "infra")

    def declare(self, percent: int, **settings: Any) -> None:
        data = self._write(percent, **{**self._settings, **settings})
        (self.folder / "Pulumi.staging.yaml").write_bytes(data)

    def up(self, percent: int, *, settled: bool = True, **settings: Any) -> None:
        self.declare(percent, **settings)
        self.engine.up("staging", (self.folder / "Pulumi.yaml").read_bytes(), self._bytes())
        self.cloud.now += timedelta(minutes=5)
        if settled:
            self.cloud.settle()

    def run(self, *args: str) -> int:
        """Run `pilot` in the folder, which stays as it is; its exit code."""
        before = {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}
        keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x")
        places = {"PULUMI_HOME": str(self.folder.parent / "home"), "PILOT_AWS_ENDPOINT": self.cloud.endpoint_url}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["pilot", *args])
            for name, value in (self.engine.environment | keys | places).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as end:
                cli.main()
        assert {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()} == before
        return int(end.value.code or 0)

    def _bytes(self) -> bytes:
        return (self.folder / "Pulumi.staging.yaml").read_bytes()


@pytest.fixture
def shop(cloud: LocalAws, pulumi_command: Path, stack_file: StackFile, tmp_path: Path) -> Iterator[Shop]:
    folder = tmp_path / "shop"
    folder.mkdir()
    with Engine(cloud, pulumi_command) as engine:
        yield Shop(cloud, engine, folder, stack_file, exposure="traffic")


def test_what_is_changed_by_hand_or_taken_back_is_drift_and_what_is_merged_is_pending(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = "registry.example/api@sha256:" + "c" * 64
    shop.up(10)
    assert shop.run("drift", "--stack", "staging", "--exit-code") == 0
    assert capsys.readouterr().out == "staging: declared, applied and live agree\n"

    # A deployment that comes to nothing, which ECS takes back.
    shop.cloud.break_image(broken)
    shop.up(10, settled=False, image=broken)
    assert shop.run("drift", "--stack", "staging", "--exit-code") == 75
    assert capsys.readouterr().out.startswith("staging: deployment: deployment in progress: ")
    shop.cloud.settle()

    # Autoscaling's work is none of ours. By hand: weights, the percent as applied, and an alarm.
    ecs, elb, cloud = shop.cloud.client("ecs"), shop.cloud.client("elbv2"), shop.cloud
    ecs.update_service(cluster="shop", service="api", desiredCount=7)
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    (listener,) = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    (action,) = listener["DefaultActions"]
    for group, weight in zip(action["ForwardConfig"]["TargetGroups"], (50, 50), strict=True):
        group["Weight"] = weight
    elb.modify_listener(
        ListenerArn=listener["ListenerArn"],
        DefaultActions=[{"Type": "forward", "ForwardConfig": action["ForwardConfig"]}],
    )
    name = "/pilot/shop/api/percent"
    cloud.client("ssm").put_parameter(Name=name, Value="50", Type="String", Overwrite=True)
    cloud.client("cloudwatch").delete_alarms(AlarmNames=["shop-api-candidate-5xx"])

    assert shop.run("drift", "--json") == 0
    found = capsys.readouterr().out
    assert json.loads(found)["up"] == []
    weights = "defaultActions[0].forward.targetGroups"
    assert {one["sentence"] for one in json.loads(found)["differences"]} == {
        f"ingress.{weights}[0].weight was applied as 90, and is 50",
        f"ingress.{weights}[1].weight was applied as 10, and is 50",
        "percent.value, a secret, is not what was applied, since 2026-03-02 09:10 UTC",
        "candidate (aws:cloudwatch/metricAlarm:MetricAlarm) is gone; pulumi up --refresh makes it again",
        "stable runs shop-api:1, applied was shop-api:2; the deployment was taken back,"
        " by the circuit breaker, an alarm or a person, since 2026-03-02 09:10 UTC",
    }

    # Merged, not applied.
    shop.declare(20, image=broken)
    assert shop.run("drift", "--stack", "staging", "--exit-code") == 2
    lines = capsys.readouterr().out.splitlines()
    assert f"staging: pending: ingress.{weights}[1].weight was applied as 10, and is declared as 20" in lines
    assert "staging: pulumi up --stack staging would apply what is declared: 2 to update" in lines

    # What `pilot preview` prints is the comment; a stack that is refused is in it, and is exit code 2.
    assert shop.run("preview") == 0
    assert "**ingress** (aws:lb/listener:Listener)" in capsys.readouterr().out
    shop.declare(140)
    assert shop.run("preview", "--stack", "staging") == 2
    assert "percent is 140; it should be less than or equal to 100" in capsys.readouterr().out.replace("\\", "")


def test_a_stack_that_was_never_applied_and_a_missing_command_are_said(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.declare(0)

    assert shop.run("drift", "--stack", "staging") == 2
    assert (
        "staging: error: the backend has no stack staging; name the right one (pulumi login" in capsys.readouterr().err
    )
    assert shop.run("drift", "--stack", "prod") == 2
    assert "Pulumi.prod.yaml: No such file or directory; run in the folder" in capsys.readouterr().err
    monkeypatch.delenv("PILOT_PULUMI", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(shop.folder))
    assert shop.run("drift", "--stack", "staging") == 2
    assert "there is no pulumi command on PATH; install it (https://" in capsys.readouterr().err
