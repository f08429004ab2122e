"""The workflows: what linters cannot know of them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from controller.cli import cli
from controller.engine import VERSION
from tests.facts import ROOT

GITHUB = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GITLAB = ROOT / "ci" / "gitlab-ci.yml"
STACKS = {path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml")}
_yaml: Any = yaml


def jobs(path: Path) -> dict[str, Any]:
    return dict(_yaml.safe_load(path.read_text())["jobs"])


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(path).values():
        yield from job.get("steps", [])


def scripts() -> Iterator[str]:
    """Every line of shell of both."""
    for path in GITHUB:
        for step in steps(path):
            yield from step.get("run", "").splitlines()
    for job in _yaml.safe_load(GITLAB.read_text()).values():
        if isinstance(job, dict):
            for text in job.get("script", []):
                yield from text.splitlines()


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.stem)
def test_actions_are_pinned_and_permissions_are_named(path: Path) -> None:
    for line in path.read_text().splitlines():
        if used := re.search(r"^[ -]*uses: (\S+)(.*)", line):
            assert re.fullmatch(r"\./.+|[\w.-]+/[\w./-]+@[0-9a-f]{40}", used[1]), line
            assert used[1].startswith("./") or re.match(r" # v\d", used[2]), f"say which version it is: {line}"
    assert "permissions" in _yaml.safe_load(path.read_text())
    for name, job in jobs(path).items():
        assert "uses" in job or job.get("timeout-minutes"), f"{name} may hang for six hours"


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.stem)
def test_nothing_that_others_write_gets_into_a_script(path: Path) -> None:
    """An expression in `run` is pasted before the shell reads it; as a variable it is data."""
    assert [step["run"] for step in steps(path) if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.stem)
def test_a_pipe_fails_where_any_part_of_it_fails(path: Path) -> None:
    pipes = [step for step in steps(path) if re.search(r"[^|]\|[^|]", step.get("run", ""))]

    assert not pipes or _yaml.safe_load(path.read_text())["defaults"]["run"]["shell"] == "bash"


def test_every_stack_is_previewed_reconciled_and_looked_at_with_its_own_role() -> None:
    """A role that `infra/` makes reads one stack."""
    gitlab = _yaml.safe_load(GITLAB.read_text())
    assert set(gitlab[".stacks"]["parallel"]["matrix"][0]["STACK"]) == STACKS
    for name, job, role in (
        ("preview", "preview", "PREVIEW"), ("reconcile", "reconcile", "CONTROLLER"), ("nightly", "drift", "PREVIEW"),
    ):  # fmt: skip
        found = jobs(ROOT / f".github/workflows/{name}.yml")[job]
        (assumed,) = [
            one["with"]["role-to-assume"] for one in found["steps"] if "role-to-assume" in one.get("with", {})
        ]
        assert set(found["strategy"]["matrix"]["stack"]) == STACKS
        assert assumed == "${{ vars[format('AWS_" + role + "_ROLE_{0}', matrix.stack)] }}"
        assert ".stacks" in gitlab[job]["extends"]
        assert f'"AWS_{role}_ROLE_${{STACK^^}}"' in gitlab[job]["script"][0]


@pytest.mark.parametrize("forge", ["github", "gitlab"])
@pytest.mark.parametrize(
    ("codes", "ends"),
    [
        pytest.param("75 75 0", 0, id="once-live"),
        pytest.param("75 2", 2, id="at-once-where-a-person-must-act"),
        pytest.param("0", 0, id="at-once-where-live"),
        pytest.param("75 " * 99, 75, id="not-for-ever"),
    ],
)
def test_up_waits_for_a_deployment_and_for_nothing_else(forge: str, codes: str, ends: int, tmp_path: Path) -> None:
    if forge == "github":
        script = next(
            one["run"] for one in steps(ROOT / ".github/workflows/up-stack.yml") if "drift" in one.get("run", "")
        )
    else:
        script = _yaml.safe_load(GITLAB.read_text())[".up"]["script"][-1]
    (tmp_path / "codes").write_text("\n".join(codes.split()) + "\n")
    pilot = tmp_path / ".venv" / "bin" / "pilot"
    pilot.parent.mkdir(parents=True)
    pilot.write_text("#!/bin/sh\ncode=$(head -n 1 codes)\nsed -i 1d codes\nexit $code\n")
    sleep = tmp_path / "sleep"
    sleep.write_text("#!/bin/sh\n")
    for made in (pilot, sleep):
        made.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "STACK": "prod"}

    done = subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=False)

    assert done.returncode == ends


def test_only_the_default_branch_gets_roles_that_write() -> None:
    up = _yaml.safe_load((ROOT / ".github/workflows/up.yml").read_text())
    job = jobs(ROOT / ".github/workflows/up-stack.yml")["up"]

    assert up[True]["push"] == {"branches": ["main"]}
    assert "github.ref == 'refs/heads/main'" in up["jobs"]["staging"]["if"]
    assert up["jobs"]["prod"]["needs"] == "staging"
    assert "needs.staging.result == 'success' || inputs.stack == 'prod'" in up["jobs"]["prod"]["if"]
    assert "github.ref == 'refs/heads/main'" in up["jobs"]["prod"]["if"]
    assert {one["with"]["stack"] for one in up["jobs"].values()} == STACKS
    assert job["environment"] == "${{ inputs.stack }}"
    assert job["concurrency"] == {"group": "pulumi-${{ inputs.stack }}", "cancel-in-progress": False}


def test_a_fork_gets_no_credentials() -> None:
    job = jobs(ROOT / ".github/workflows/preview.yml")["preview"]

    assert "github.event.pull_request.head.repo.full_name == github.repository" in job["if"]
    assert "pull_request_target" not in (ROOT / ".github/workflows/preview.yml").read_text()
    assert job["permissions"] == {"contents": "read", "id-token": "write"}


def test_previews_and_ups_read_all_of_the_history() -> None:
    """The policy pack refuses a shallow clone."""
    for path in GITHUB:
        for job in jobs(path).values():
            run = " ".join(step.get("run", "") for step in job.get("steps", []))
            if "--policy-pack" in run:
                (checkout,) = [step for step in job["steps"] if "actions/checkout@" in step.get("uses", "")]
                assert checkout["with"]["fetch-depth"] == 0
    assert _yaml.safe_load(GITLAB.read_text())["variables"]["GIT_DEPTH"] == "0"


def test_the_same_pulumi_everywhere() -> None:
    versions = {
        step["with"]["pulumi-version"]
        for path in GITHUB
        for step in steps(path)
        if "pulumi-version" in step.get("with", {})
    }

    assert versions == {VERSION}
    assert _yaml.safe_load(GITLAB.read_text())["default"]["image"].endswith(f":{VERSION}")
    assert f"\nversion={VERSION} " in (ROOT / "tools" / "pulumi-cli.sh").read_text()


def test_the_commands_that_they_run_exist() -> None:
    ran = [match[1].split() for line in scripts() if (match := re.search(r"\.venv/bin/pilot ([^;|>]*)", line))]

    assert {words[0] for words in ran} == {"preview", "drift", "reconcile", "nightly"}
    for name, *words in ran:
        command = cli.commands[name]
        known = {flag for option in command.params if isinstance(option, click.Option) for flag in option.opts}
        assert {word.rstrip("}") for word in words if word.startswith("--")} <= known


def test_gitlab_applies_one_stack_at_a_time_and_prod_after_staging() -> None:
    jobs = _yaml.safe_load(GITLAB.read_text())

    assert jobs[".up"]["resource_group"] == "pulumi-$STACK"
    assert jobs[".up"]["environment"] == {"name": "$STACK"}
    assert {name for name, job in jobs.items() if isinstance(job, dict) and job.get("extends") == ".up"} == STACKS
    assert jobs["prod"]["needs"] == ["staging"]
    for name in jobs:
        ours = jobs[name].get("variables", {}) if isinstance(jobs[name], dict) else {}
        assert not [key for key in ours if key.startswith("PILOT_") and key != "PILOT_REPOSITORY"]


@pytest.mark.parametrize(
    ("patches", "state"),
    [
        pytest.param([], "success", id="no-stack-file"),
        pytest.param(
            ["@@ -8 +8 @@\n-    percent: 10   # raise 20\n+    percent: 20   # raise 20"], "failure", id="raised"
        ),
        pytest.param(["-    percent: 20\n+    percent: 10"], "success", id="lowered"),
        pytest.param(["-    percent: 9\n+    percent: 10"], "failure", id="raised-by-a-digit"),
        pytest.param(["-    hold: no 1\n+    hold: no 2\n     percent: 50"], "success", id="another-key"),
        pytest.param(['+{"config": {"pilot:rollout": {"percent": 5}}}'], "failure", id="new-and-not-at-0"),
        pytest.param(["+    percent: 0"], "success", id="new-at-0"),
        pytest.param(["-    percent: 50\n+    percent: 10", "+    percent: 20"], "failure", id="each-file-by-itself"),
        pytest.param([None], "failure", id="too-large-to-be-shown"),
    ],
)
def test_a_percent_that_is_raised_by_hand_has_no_evidence(
    patches: list[str | None], state: str, tmp_path: Path
) -> None:
    """The script of the workflow, with a `gh` that answers as GitHub would; jq is what gh has built in."""
    (step,) = steps(ROOT / ".github/workflows/evidence.yml")
    answer = "".join(f"FILE\n{'+percent: 101' if patch is None else patch}\n" for patch in patches)
    (tmp_path / "answer").write_text(answer)
    gh = tmp_path / "gh"
    gh.write_text(
        f'#!/bin/sh\ncase "$*" in *--paginate*) cat {tmp_path}/answer;; *) echo "$@" > {tmp_path}/said;; esac\n'
    )
    gh.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_REPOSITORY": "o/r", "NUMBER": "1", "HEAD": "abc"}

    subprocess.run(["bash", "-eo", "pipefail", "-c", step["run"]], env=environment, check=True)

    said = (tmp_path / "said").read_text()
    assert f"repos/o/r/statuses/abc -f context=rollout/evidence -f state={state} " in said


@pytest.mark.parametrize(
    ("notes", "request_"),
    [
        ([{"id": 7, "body": "hello"}], "--request POST --data-urlencode body@comment.md https://git/notes"),
        (
            [{"id": 7, "body": "x"}, {"id": 8, "body": "<!-- pilot preview: prod -->\nold"}],
            "--request PUT --data-urlencode body@comment.md https://git/notes/8",
        ),
    ],
)
def test_gitlab_gets_one_note_and_the_token_is_no_argument(notes: Any, request_: str, tmp_path: Path) -> None:
    (tmp_path / "comment.md").write_text("<!-- pilot preview: prod -->\nnew")
    (tmp_path / "answer").write_text(json.dumps(notes))
    curl = tmp_path / "curl"
    log = f'echo "$@" >> {tmp_path}/arguments; cat >> {tmp_path}/input'
    curl.write_text(f'#!/bin/sh\n{log}\ncase "$*" in *--request*) ;; *) cat {tmp_path}/answer;; esac\n')
    curl.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ROLLOUT_TOKEN": "s3cret", "CI_API_V4_URL": "https://git",
                   "CI_PROJECT_ID": "1", "CI_MERGE_REQUEST_IID": "2"}  # fmt: skip

    subprocess.run([ROOT / "tools/gitlab-note.sh", "comment.md"], cwd=tmp_path, env=environment, check=True)

    said = (tmp_path / "arguments").read_text().replace("/projects/1/merge_requests/2", "")
    assert said.splitlines()[-1].endswith(request_)
    assert "s3cret" not in said
    assert (tmp_path / "input").read_text().count('header = "PRIVATE-TOKEN: s3cret"') == 2
