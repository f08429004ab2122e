"""Stack files of the repository, made for the local AWS, and one that has everything on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from controller.rehearsal.localcloud import LocalAws

ROOT = Path(__file__).parents[2]
PROJECT = (ROOT / "Pulumi.yaml").read_bytes()
TOKEN = "arn:aws:ssm:us-east-1:123456789012:parameter/pilot/forge-token"
NEXT = "0123456789abcdef" * 4  # a digest


def shipped(stack: str) -> dict[str, Any]:
    """Return the `config:` of a stack file as it is shipped."""
    return dict(yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"])


def of(config: dict[str, Any], digest: str) -> str:
    """Return the stack's image with another digest."""
    return str(config["pilot:service"]["image"].split("@")[0]) + "@sha256:" + digest


def in_local_aws(cloud: LocalAws, config: dict[str, Any]) -> dict[str, Any]:
    """Return *config* with a certificate that is there."""
    ingress = {**config["pilot:ingress"], "certificateArn": cloud.certificate("api.example.com")}
    return {**config, "pilot:ingress": ingress}


def exposed(config: dict[str, Any], exposure: str, percent: int = 0) -> dict[str, Any]:
    """Return *config* with that exposure, by the container's environment."""
    service = {**config["pilot:service"], "candidateImage": of(config, NEXT), "delivery": "environment"}
    if exposure == "flag":
        del service["candidateImage"]
    rollout = {**config["pilot:rollout"], "exposure": exposure, "percent": percent}
    return {**config, "pilot:service": service, "pilot:rollout": rollout}


def everything(config: dict[str, Any]) -> dict[str, Any]:
    """Return *config* with all that it may have: both variants, the app polling, the controller on a schedule."""
    config = exposed(config, "traffic", 10)
    pipeline = {key: value for key, value in config["pilot:pipeline"].items() if key != "providerArn"}
    pipeline |= {
        "stateBucket": "ontogra-pulumi-state",
        "stateKeyArn": "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d-0000-4000-8000-000000000000",
        "permissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary",
    }
    controller = {
        "runs": "schedule", "image": of(config, NEXT), "secrets": {"GITHUB_TOKEN": TOKEN},
        "environment": {"PILOT_REPOSITORY": "https://github.com/ontogra/ontogra-api"},
    }  # fmt: skip
    service = {
        **config["pilot:service"], "delivery": "parameter", "architecture": "ARM64",
        "secretsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d-0000-4000-8000-000000000001",
        "secrets": {**config["pilot:service"]["secrets"], "API_KEY": TOKEN.replace("forge-token", "api-key")},
    }  # fmt: skip
    return {**config, "pilot:service": service, "pilot:pipeline": pipeline, "pilot:controller": controller}


def text(config: dict[str, Any]) -> bytes:
    return yaml.safe_dump({"config": config}).encode()
