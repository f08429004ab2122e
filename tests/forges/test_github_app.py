"""An App's token: made for one repository and the rights that are used, renewed in time, and shared with git."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from controller.errors import ConfigError
from controller.forges.git import Git
from controller.forges.github import GitHub
from controller.forges.github_app import App, AppToken
from controller.forges.patience import Patience
from controller.ports import CheckState
from tests.forges.fakes.server import Fault
from tests.forges.worlds import WORLDS, GitHubWorld, propose


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GitHubWorld]:
    with WORLDS["github"](tmp_path) as made:
        assert isinstance(made, GitHubWorld)
        yield made
        assert made.complaints() == []


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def app(world: GitHubWorld, key: rsa.RSAPrivateKey, tmp_path: Path) -> App:
    path = tmp_path / "key.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    world.server.apps["Iv1.abc"] = (key.public_key(), 77)
    return App("Iv1.abc", path)


def token(world: GitHubWorld, app: App) -> AppToken:
    patience = Patience(clock=world.clock.time, sleep=world.clock.sleep)
    return AppToken(world.server.url, "acme", "shop", app=app, patience=patience)


@pytest.mark.parametrize("installation", [None, "77"])
def test_a_token_is_for_one_repository_and_the_rights_that_are_used(
    world: GitHubWorld, app: App, installation: str | None
) -> None:
    assert token(world, replace(app, installation=installation))() == "ghs_minted0"
    assert world.server.minted == [
        {
            "repositories": ["shop"],
            "permissions": {
                "contents": "write",
                "pull_requests": "write",
                "statuses": "write",
                "metadata": "read",
                "checks": "read",
            },
        }
    ]


def test_a_token_is_kept_and_renewed_before_it_expires(world: GitHubWorld, app: App) -> None:
    made = token(world, app)
    assert {made() for _ in range(3)} == {"ghs_minted0"}
    world.clock.at += timedelta(minutes=54)
    assert made() == "ghs_minted0"
    world.clock.at += timedelta(minutes=1, seconds=1)
    assert made() == "ghs_minted1"


def test_an_answer_that_is_lost_costs_a_token_that_expires_by_itself(world: GitHubWorld, app: App) -> None:
    world.server.faults.append(Fault("access_tokens$", applied=True))
    assert token(world, app)() == "ghs_minted1"


def test_git_and_the_api_work_with_the_same_token(world: GitHubWorld, app: App) -> None:
    made = token(world, app)
    patience = Patience(clock=world.clock.time, sleep=world.clock.sleep)
    forge = GitHub(world.server.url, "acme", "shop", token=made, patience=patience)
    propose(Git(world.server.remote, credentials=lambda: ("x-access-token", made())), "rollout/prod/x")

    assert forge.open(branch="rollout/prod/x", title="t", body="b").author == "pilot[bot]"
    assert len(world.server.minted) == 1


def test_another_apps_key_is_refused(world: GitHubWorld, app: App) -> None:
    world.server.apps["Iv1.abc"] = (rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(), 77)
    with pytest.raises(ConfigError, match=r"401: A JSON web token could not be decoded; the token is wrong") as caught:
        token(world, app)()
    assert "eyJ" not in str(caught.value)


def test_an_installation_elsewhere_is_named(world: GitHubWorld, app: App) -> None:
    with pytest.raises(ConfigError, match=r"404: .*an installation of App Iv1\.abc on acme/shop"):
        token(world, replace(app, installation="78"))()


def test_a_right_that_was_not_granted_stops_only_what_needs_it(world: GitHubWorld, app: App) -> None:
    world.server.denied = {"statuses"}
    made = token(world, app)
    patience = Patience(clock=world.clock.time, sleep=world.clock.sleep)
    forge = GitHub(world.server.url, "acme", "shop", token=made, patience=patience)
    git = Git(world.server.remote, credentials=lambda: ("x-access-token", made()))
    head = propose(git, "rollout/prod/x")

    assert forge.open(branch="rollout/prod/x", title="t", body="b").head == head
    with pytest.raises(ConfigError, match=r"403: .*probably missing: commit statuses \(write\)"):
        forge.check(head, CheckState.SUCCESS, "good")
    assert world.server.minted == [{"repositories": ["shop"]}]


def test_a_repository_that_the_installation_lacks_is_said_with_the_rights(world: GitHubWorld, app: App) -> None:
    patience = Patience(clock=world.clock.time, sleep=world.clock.sleep)
    made = AppToken(world.server.url, "acme", "other", app=replace(app, installation="77"), patience=patience)
    with pytest.raises(ConfigError, match=r"not accessible.*grant the App contents \(write\), .*statuses \(write\)"):
        made()


def test_what_is_wrong_with_the_key_is_said(world: GitHubWorld, app: App, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"private key .*/none\.pem: No such file or directory; set PILOT_APP_KEY"):
        token(world, replace(app, key=tmp_path / "none.pem"))()
    (tmp_path / "bad.pem").write_text("-----BEGIN NOTHING-----")
    with pytest.raises(ConfigError, match=r"private key .*/bad\.pem is no PEM key of RSA"):
        token(world, replace(app, key=tmp_path / "bad.pem"))()


def test_without_pyjwt_the_message_says_what_to_install(
    world: GitHubWorld, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ConfigError, match=r"pip install 'pilot-rollout\[app\]', or give a ready-made token"):
        token(world, app)()
