"""What the application's container is told. Pure: the whole text of its definition is made here."""

from __future__ import annotations

import json
import re
from typing import Any

from infra.config import StackConfig, Variant
from infra.parameter import settings_name

NAME = "app"
STOP_SECONDS = 30  # from SIGTERM to SIGKILL; a task leaves the load balancer before the first


def container_definitions(config: StackConfig, variant: Variant, log_group: str) -> str:
    """Return the JSON text of a task definition's one container."""
    service = config.service
    definition: dict[str, Any] = {
        "name": NAME,
        "image": variant.image,
        "essential": True,
        "portMappings": [{"containerPort": service.port, "protocol": "tcp"}],
        "environment": pairs(_environment(config, variant)),
        "user": service.user,
        "readonlyRootFilesystem": True,
        "linuxParameters": {"initProcessEnabled": True},
        "stopTimeout": STOP_SECONDS,
        "logConfiguration": awslogs(log_group, config.region, variant.name),
    }
    if service.secrets:
        definition["secrets"] = references(service.secrets)
    if service.writable_paths:
        definition["mountPoints"] = [
            {"sourceVolume": volume_name(path), "containerPath": path, "readOnly": False}
            for path in service.writable_paths
        ]
    if service.health_command:
        definition["healthCheck"] = {
            "command": list(service.health_command), "interval": 10, "timeout": 5, "retries": 3, "startPeriod": 30,
        }  # fmt: skip
    return json.dumps([definition])


def pairs(environment: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in sorted(environment.items())]


def references(secrets: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "valueFrom": arn} for name, arn in sorted(secrets.items())]


def awslogs(group: str, region: str, prefix: str) -> dict[str, Any]:
    options = {"awslogs-group": group, "awslogs-region": region, "awslogs-stream-prefix": prefix}
    return {"logDriver": "awslogs", "options": options}


def volume_name(path: str) -> str:
    """Return the name of the volume at a writable *path*: `/var/tmp` has `var-tmp`."""
    return re.sub(r"[^A-Za-z0-9]+", "-", path).strip("-")


def _environment(config: StackConfig, variant: Variant) -> dict[str, str]:
    """Return what may change with the stage only where it is delivered so: a new value is a new revision."""
    rollout, service = config.rollout, config.service
    if service.delivery == "parameter":
        environment = {"PILOT_SETTINGS_PARAMETER": settings_name(service.cluster, service.name)}
    else:
        environment = {
            "PILOT_INTAKE": rollout.intake,
            "PILOT_COHORT": ",".join(rollout.cohort),
            **{flag_variable(name): value for name, value in rollout.flags.items()},
        }
    if rollout.exposure == "flag":
        share = {"PILOT_ROLLOUT_PCT": f"{rollout.percent / 100:.2f}"}
        return environment if service.delivery == "parameter" else environment | share
    # The load balancer has chosen already, so that a variant serves all of its users the same.
    # A share that followed the percent would replace both task definitions at each stage.
    chosen = "1.00" if variant.name == "candidate" else "0.00"
    return environment | {"PILOT_ROLLOUT_PCT": chosen, "PILOT_VARIANT": variant.name}


def flag_variable(name: str) -> str:
    """Return the variable of a flag: `micPrompt` has `PILOT_FLAG_MIC_PROMPT`; no two share one."""
    return "PILOT_FLAG_" + re.sub(r"([A-Z])", r"_\1", name).upper()
