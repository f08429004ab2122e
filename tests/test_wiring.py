"""From the environment to the adapters: which forge a repository is on, and which token opens it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller import wiring
from controller.errors import ConfigError
from controller.forges.github import GitHub
from controller.forges.github_app import AppToken
from controller.forges.local import LocalForge
from controller.ports import Forge
from controller.settings import Settings


def settings(repository: str, **variables: str) -> Settings:
    return Settings.load({"PILOT_REPOSITORY": repository, **variables})


def forge(repository: str, **variables: str) -> Forge:
    found = settings(repository, **variables)
    return wiring.forge(found, wiring.repository(found), lambda: datetime.now(UTC))


@pytest.mark.parametrize(
    ("repository", "kind"),
    [
        ("https://github.com/acme/shop.git", "github"),
        ("git@github.com:acme/shop.git", "github"),
        ("ssh://git@ssh.github.com:443/acme/shop.git", "github"),
        ("https://acme.ghe.com/acme/shop", "github"),
        ("https://gitlab.com/acme/deep/shop.git", "gitlab"),
        ("/srv/git/shop.git", "local"),
        ("../shop", "local"),
        ("file:///srv/git/shop.git", "local"),
    ],
)
def test_the_host_names_the_forge(repository: str, kind: str) -> None:
    assert wiring.kind(settings(repository)) == kind


@pytest.mark.parametrize("repository", ["https://git.example.com/acme/shop", "git@git.example.com:acme/shop.git"])
def test_a_host_that_could_be_any_must_be_named(repository: str) -> None:
    with pytest.raises(ConfigError, match=r"which forge is git\.example\.com\? Set PILOT_FORGE"):
        wiring.kind(settings(repository))
    assert wiring.kind(settings(repository, PILOT_FORGE="github")) == "github"
    assert wiring.kind(settings(repository, PILOT_FORGE="local")) == "local"


def test_a_lookalike_host_is_not_taken_for_github() -> None:
    for host in ("github.com.evil.example", "notgithub.com"):
        with pytest.raises(ConfigError, match="which forge is"):
            wiring.kind(settings(f"https://{host}/acme/shop"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PILOT_FORGE", "bitbucket", "environment: PILOT_FORGE: input should be 'github'"),
        ("PILOT_FORG", "github", "environment: PILOT_FORG: extra inputs are not permitted"),
        ("PILOT_TOKEN", "two words", "environment: PILOT_TOKEN: string should match"),
    ],
)
def test_a_wrong_setting_is_refused_without_its_value(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings("https://github.com/acme/shop", **{name: value})
    assert said in str(caught.value)
    assert value == "github" or value not in str(caught.value)


def test_without_a_server_the_forge_is_the_local_one(tmp_path: Path) -> None:
    assert isinstance(forge(str(tmp_path)), LocalForge)
    with pytest.raises(ConfigError, match=r"PILOT_FORGE=github, but .* is on this machine"):
        forge(str(tmp_path), PILOT_FORGE="github")


GITHUB = "https://github.com/acme/shop"


@pytest.mark.parametrize(
    ("variables", "warns"),
    [
        ({"PILOT_TOKEN": "github_pat_x"}, False),
        ({"PILOT_TOKEN": "github_pat_x", "GITHUB_TOKEN": "ghs_y"}, False),
        ({"GITHUB_TOKEN": "ghs_y"}, True),
        ({"PILOT_TOKEN": "", "GITHUB_TOKEN": "ghs_y"}, True),
        ({"PILOT_TOKEN": "ghs_y\n", "GITHUB_TOKEN": "ghs_y"}, True),
        ({"PILOT_APP_ID": "1", "PILOT_APP_KEY": "/key.pem", "GITHUB_TOKEN": "ghs_y"}, False),
    ],
)
def test_a_workflows_own_token_is_warned_about(variables: Mapping[str, str], warns: bool) -> None:
    made = forge(GITHUB, **variables)

    assert isinstance(made, GitHub)
    assert (made.warning is not None) is warns


def test_an_app_goes_before_a_token_and_git_shares_its_token() -> None:
    variables = {"PILOT_APP_ID": "1", "PILOT_APP_KEY": "/key.pem", "PILOT_TOKEN": "github_pat_x"}

    token = wiring.access(settings(GITHUB, **variables))

    assert isinstance(token, AppToken)
    assert wiring.access(settings(GITHUB, **variables)) is token


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "no token for github: set PILOT_TOKEN, or PILOT_APP_ID and PILOT_APP_KEY"),
        ({"PILOT_APP_ID": "1"}, "PILOT_APP_ID is set and PILOT_APP_KEY is not"),
        ({"PILOT_TOKEN": "x", "PILOT_REPOSITORY": "https://github.com/shop"}, "expected HOST/owner/name, found 'shop'"),
        ({"PILOT_TOKEN": "x", "PILOT_API": "http://git.example.com/api/v3"}, "a token goes by https only"),
        ({"PILOT_TOKEN": "x", "PILOT_API": "https://u:p@git.example.com"}, "holds a user; give a token instead"),
    ],
)
def test_what_is_missing_is_named(variables: Mapping[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        forge(**{"repository": GITHUB, **variables})
    assert said in str(caught.value)
