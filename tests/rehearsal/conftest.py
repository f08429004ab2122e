"""Stacks for the local AWS, and the command that the real engine needs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pulumi_aws
import pytest

from controller.rehearsal.localcloud import LocalAws, find_pulumi

with warnings.catch_warnings(action="ignore"):
    pulumi_aws.ec2.SecurityGroup  # noqa: B018 - importing it warns of its deprecated parts

ROOT = Path(__file__).parents[2]
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
IMAGE = "registry.example/api@sha256:" + "a" * 64
CANDIDATE = "registry.example/api@sha256:" + "b" * 64


@pytest.fixture(scope="session")
def pulumi_command() -> Path:
    command = find_pulumi()
    if command is None:
        pytest.fail("there is no pulumi command; tools/pulumi-cli.sh gets it and prints its path")
    return command


@pytest.fixture
def cloud() -> Iterator[LocalAws]:
    with LocalAws(START, seed=1) as local:
        yield local


@pytest.fixture(scope="session")
def project() -> bytes:
    return (ROOT / "Pulumi.yaml").read_bytes()


@pytest.fixture(scope="session")
def stack_file() -> Callable[..., bytes]:
    def write(percent: object, *, exposure: str = "flag", image: str = IMAGE, network: object = None) -> bytes:
        candidate = f"    candidateImage: {CANDIDATE}\n" if exposure == "traffic" else ""
        given = f"  pilot:network: {json.dumps(network)}\n" if network else ""
        text = (
            "config:\n"
            "  aws:region: us-east-1\n"
            "  pilot:service:\n"
            "    cluster: shop\n"
            "    name: api\n"
            f"    image: {image}\n{candidate}"
            "    healthUrl: https://api.example.com/health\n"
            "  pilot:ingress: {insecureHttp: true, accessLogDays: 0}\n"
            "  pilot:rollout:\n"
            f"    percent: {percent}   # a comment\n"
            f"    exposure: {exposure}\n{given}"
        )
        return text.encode()

    return write
