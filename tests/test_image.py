"""The controller's container has what the distribution needs, as it was tested, and does not run as root."""

from __future__ import annotations

import re
import tomllib

from tests.facts import ROOT

NAME = r"^([A-Za-z0-9_.-]+)"


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(NAME + r"==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_image_needs_what_the_distribution_needs_but_for_pulumi() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.match(NAME, one)[1] for one in [*project["dependencies"], *project["optional-dependencies"]["app"]]}  # type: ignore[index]
    listed = set(re.findall(NAME, (ROOT / "image" / "requirements.in").read_text(), re.MULTILINE))

    assert listed - {"setuptools"} == {name for name in needed if not name.startswith("pulumi")}


def test_the_image_has_the_versions_that_are_tested() -> None:
    image = pins("image/requirements.txt")

    assert image.items() <= pins("requirements.txt").items()
    assert not [name for name in image if "pulumi" in name]


def test_the_image_is_pinned_and_not_root() -> None:
    lines = (ROOT / "image" / "Dockerfile").read_text().splitlines()

    assert all(
        re.fullmatch(r"FROM \S+@sha256:[0-9a-f]{64}( AS build)?", line) for line in lines if line.startswith("FROM")
    )
    assert "ARG USER_ID=10001" in lines  # the default of pilot:service.user
    assert [line for line in lines if line.startswith("USER")] == ["USER $USER_ID"]
