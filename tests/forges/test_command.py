"""What git says, and who has to act on it."""

from __future__ import annotations

import pytest

from controller.errors import ConfigError, TransientError
from controller.forges import command


@pytest.mark.parametrize(
    ("said", "error"),
    [
        pytest.param(
            "ssh: Could not resolve hostname git.example.com: Name or service not known\n"
            "fatal: Could not read from remote repository.\n\n"
            "Please make sure you have the correct access rights\nand the repository exists.",
            TransientError,
            id="ssh-no-network",
        ),
        pytest.param(
            "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            ConfigError,
            id="ssh-key",
        ),
        pytest.param("Host key verification failed.", ConfigError, id="ssh-host-key"),
        pytest.param(
            "remote: Repository not found.\nfatal: repository 'https://github.com/a/b.git/' not found",
            ConfigError,
            id="github-no-access",
        ),
        pytest.param(
            "remote: error: GH006: Protected branch update failed for refs/heads/main.\n"
            "! [remote rejected] main -> main (protected branch hook declined)",
            ConfigError,
            id="github-protected",
        ),
        pytest.param(
            "! [remote rejected] main -> main (cannot lock ref 'refs/heads/main': is at 1 but expected 2)",
            TransientError,
            id="race-on-the-server",
        ),
        pytest.param(
            "remote: fatal: write error: No space left on device\n! [remote rejected] main -> main (unpacker error)",
            TransientError,
            id="server-full",
        ),
        pytest.param(
            "remote: The project you were looking for could not be found or you don't have permission to view it.",
            ConfigError,
            id="gitlab-no-access",
        ),
        pytest.param("fatal: early EOF", TransientError, id="cut-off"),
    ],
)
def test_what_git_says_decides_who_acts(said: str, error: type[Exception]) -> None:
    failure = command.failure(command.Result(1, b"", said), "push")

    assert type(failure) is error
    assert str(failure).startswith("push: ")


def test_messages_are_cut_and_hold_no_secret() -> None:
    noise = "remote: " + "x" * 1000
    said = f"remote: token ghp_0123456789abcdef\nfatal: https://u:pw@example.com/\n{noise}"
    message = str(command.failure(command.Result(1, b"", said), "push"))

    assert len(message) < 500
    assert "ghp_" not in message
    assert "pw" not in message
