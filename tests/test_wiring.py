"""From the environment to the adapters: which forge a repository is on, and which token opens it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller import wiring
from controller.errors import ConfigError, TransientError
from controller.forges.gitea import Gitea
from controller.forges.github import GitHub
from controller.forges.github_app import AppToken
from controller.forges.gitlab import GitLab
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
    assert isinstance(forge(GITHUB, **variables), GitHub)
    said = wiring.warning(settings(GITHUB, **variables))
    assert (said is not None and "no workflow runs by itself" in said) is warns


def test_on_another_forge_that_token_is_nothing_special() -> None:
    variables = {"PILOT_TOKEN": "t", "GITHUB_TOKEN": "t"}
    assert wiring.warning(settings("https://gitlab.com/acme/shop", **variables)) is None
    assert wiring.warning(settings("/srv/git/shop.git", **variables)) is None


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


# ---------------------------------------------------------------- GitLab, Gitea and Forgejo


@pytest.mark.parametrize(
    ("repository", "variables", "base", "path"),
    [
        ("https://gitlab.com/acme/deep/shop.git", {}, "https://gitlab.com/api/v4", "projects/acme%2Fdeep%2Fshop"),
        ("git@gitlab.com:acme/shop.git", {}, "https://gitlab.com/api/v4", "projects/acme%2Fshop"),
        (
            "https://example.com/gitlab/acme/shop.git",
            {"PILOT_FORGE": "gitlab", "PILOT_API": "https://example.com/gitlab/api/v4"},
            "https://example.com/gitlab/api/v4",
            "projects/acme%2Fshop",
        ),
        (
            "git@example.com:gitlab/shop.git",
            {"PILOT_FORGE": "gitlab", "PILOT_API": "https://example.com/gitlab"},
            "https://example.com/gitlab/api/v4",
            "projects/gitlab%2Fshop",
        ),
        ("https://codeberg.org/acme/shop.git", {}, "https://codeberg.org/api/v1", "repos/acme/shop"),
        (
            "https://example.com:3000/git/acme/shop",
            {"PILOT_FORGE": "gitea", "PILOT_API": "https://example.com:3000/git/api/v1/"},
            "https://example.com:3000/git/api/v1",
            "repos/acme/shop",
        ),
        ("ssh://git@example.com:2222/acme/shop", {"PILOT_FORGE": "forgejo"}, "https://example.com/api/v1", "repos/acme/shop"),
    ],
)  # fmt: skip
def test_a_server_of_ones_own_may_be_below_a_path(
    repository: str, variables: Mapping[str, str], base: str, path: str
) -> None:
    made = forge(repository, **{"PILOT_TOKEN": "x", **variables})

    assert isinstance(made, GitLab | Gitea)
    assert (made._client.base, made._here) == (base, path)


@pytest.mark.parametrize(
    ("repository", "variables", "said"),
    [
        ("https://gitlab.com/acme/shop", {}, "no token for gitlab: set PILOT_TOKEN; docs/forges.md says"),
        ("https://gitlab.com/acme/shop", {"GITHUB_TOKEN": "ghs_y"}, "no token for gitlab"),
        ("https://gitlab.com/shop", {"PILOT_TOKEN": "x"}, "expected HOST/group/name, found 'shop'"),
        ("https://codeberg.org/a/b/c", {"PILOT_TOKEN": "x"}, "expected HOST/owner/name, found 'a/b/c'"),
    ],
)
def test_what_is_missing_is_named_on_the_others_too(repository: str, variables: Mapping[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        forge(repository, **variables)
    assert said in str(caught.value)


@pytest.mark.parametrize("repository", ["https://gitlab.com/acme/shop", "https://gitlab.com/acme/shop.git/"])
def test_gitlab_is_called_where_it_does_not_redirect(repository: str) -> None:
    assert wiring.repository(settings(repository, PILOT_TOKEN="x")).remote == "https://gitlab.com/acme/shop.git"


# ---------------------------------------------------------------- passes of one process


@pytest.mark.parametrize(
    "variables",
    [
        {"PILOT_TOKEN": "x"},
        {"PILOT_TOKEN": "x", "PILOT_FORGE": "gitlab"},
        {"PILOT_TOKEN": "x", "PILOT_FORGE": "gitea"},
        {"PILOT_APP_ID": "1", "PILOT_APP_KEY": "/key.pem"},
    ],
)
def test_every_pass_has_all_its_time_to_wait_and_no_more(
    variables: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring._PATIENCE, "sleep", (slept := list[float]()).append)
    found = settings(GITHUB, PILOT_CACHE=str(tmp_path), **variables)
    for _ in range(2):
        world = wiring.world(found, lambda: datetime.now(UTC))
        talkers: list[object] = [world.forge]
        if isinstance(token := wiring.access(found), AppToken):
            talkers.append(token)
        patiences = {id(talker._client.patience): talker._client.patience for talker in talkers}  # type: ignore[attr-defined]
        assert len(patiences) == 1, "what waits for the token and for the rest is one pass"
        (patience,) = patiences.values()
        patience.wait(patience.budget_s, "busy")
        with pytest.raises(TransientError, match="try later"):
            patience.wait(1.0, "busy")
    assert len(slept) == 2
