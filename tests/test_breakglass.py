"""`pilot kill` and `pilot rollback` at the terminal: what is asked, said and exited with."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from controller.cli import breakglass, cli
from controller.errors import ConfigError
from controller.model import Exposure, Intake
from controller.rehearsal.localcloud import LocalAws
from tests.launch.world import START, World

FILE = """config:
  aws:region: us-east-1
  pilot:service: {cluster: shop, name: api, image: any}
  pilot:rollout: {percent: 20, exposure: flag}
"""
KILL = ["kill", "--stack", "prod", "--reason", "users complain", "--by", "Ana"]
NOT_NEEDED = ("controller.forges", "controller.policy", "controller.sources", "controller.settings", "pydantic", "rich")
PROGRAM = f"""
import sys
from controller.cli import cli
code = cli.main(standalone_mode=False)
print([name for name in {NOT_NEEDED} if name in sys.modules])
sys.exit(code)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Pulumi.prod.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    return tmp_path


class Refusing(http.server.BaseHTTPRequestHandler):
    """An AWS to which every call is too late."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"__type": self.server.code, "message": "the security token has expired"}).encode()  # type: ignore[attr-defined]
        self.send_response(400)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.code = request.param  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("PILOT_AWS_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield
        server.shutdown()


def test_kill_works_with_forge_events_and_ci_unreachable_and_waits_for_none_of_their_code(folder: Path) -> None:
    """The whole command in a process of its own: to every other address there is no way."""
    with LocalAws(START) as cloud:
        world = World(cloud, Exposure.FLAG, "environment")
        world.up(20)
        nowhere = {
            "PILOT_REPOSITORY": "https://127.0.0.1:1/nobody/there", "HTTPS_PROXY": "http://127.0.0.1:1",
            "NO_PROXY": "127.0.0.1", "PILOT_AWS_ENDPOINT": cloud.endpoint_url,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, *KILL, "--yes"], cwd=folder, env={**os.environ, **nowhere},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        world.settle()
        live = world.live()

    assert (done.returncode, done.stderr) == (0, "")
    assert (live.percent, live.intake) == (0, Intake.PAUSED)
    assert "tell people: We detected a pilot issue (users complain) at " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.usefixtures("folder", "refusing")
@pytest.mark.parametrize("refusing", ["ExpiredTokenException"], indirect=True)
def test_expired_credentials_say_the_next_step() -> None:
    result = CliRunner().invoke(cli, [*KILL, "--yes"], standalone_mode=False)

    assert isinstance(result.exception, ConfigError)  # exits with 2
    assert "copy new ones from the AWS access portal" in str(result.exception)


@pytest.mark.usefixtures("folder", "refusing")
@pytest.mark.parametrize("refusing", ["ServiceUnavailableException"], indirect=True)
def test_what_was_not_done_is_told_with_the_command_to_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pilot", *KILL, "--yes"])

    result = CliRunner().invoke(cli, [*KILL, "--yes"], standalone_mode=False)

    assert result.return_value == 75
    assert result.stderr.count("NOT DONE: ") == 2
    assert "NOT DONE: lower the percent and pause the intake" in result.stderr
    again = "pilot kill --stack prod --reason 'users complain' --by Ana --yes"
    assert result.stderr.splitlines()[-1] == f"next: run it again, which is safe: {again}"


@pytest.mark.usefixtures("folder")
def test_the_name_must_be_typed_before_anything_is_done() -> None:
    for typed, said in (("staging\n", "typed 'staging', and the stack is prod: nothing was done"), ("", "add --yes")):
        result = CliRunner().invoke(cli, KILL, input=typed, standalone_mode=False)

        assert "prod goes to 0 % and its intake is paused: api in shop, us-east-1" in result.stderr
        assert isinstance(result.exception, ConfigError)
        assert said in str(result.exception)


def test_without_the_file_the_service_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = "name the service instead: --cluster NAME --service NAME --region REGION"
    with pytest.raises(ConfigError, match=f"Pulumi.prod.yaml: No such file .* or {options}"):
        breakglass._placed("prod", None, None, None)
    with pytest.raises(ConfigError, match=f"--cluster and --service go together; {options}"):
        breakglass._placed("prod", "shop", None, None)
    (tmp_path / "Pulumi.prod.yaml").write_text("config: [")
    with pytest.raises(ConfigError, match=options):
        breakglass._placed("prod", None, None, None)

    place = breakglass._placed("prod", "shop", "api", "eu-west-1")

    assert (place.cluster, place.service, place.region) == ("shop", "api", "eu-west-1")


def test_rollback_of_git_alone_has_no_task_definition() -> None:
    asked = ["rollback", "--stack", "prod", "--reason", "r", "--git-only", "--task-definition", "api:1"]
    result = CliRunner().invoke(cli, asked, standalone_mode=False)

    assert isinstance(result.exception, (ConfigError, click.ClickException))
    assert "--git-only leaves alone" in str(result.exception)
