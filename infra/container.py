"""What the application's container is told. Pure: the whole text of its definition is made here."""

from __future__ import annotations

import json
import re

from infra.config import StackConfig, Variant

NAME = "app"


def container_definitions(config: StackConfig, variant: Variant, log_group: str) -> str:
    """Return the JSON text of a task definition's one container."""
    definition = {
        "name": NAME,
        "image": variant.image,
        "essential": True,
        "portMappings": [{"containerPort": config.service.port, "protocol": "tcp"}],
        "environment": [
            {"name": name, "value": value} for name, value in sorted(_environment(config, variant).items())
        ],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": log_group,
                "awslogs-region": config.region,
                "awslogs-stream-prefix": variant.name,
            },
        },
    }
    return json.dumps([definition])


def _environment(config: StackConfig, variant: Variant) -> dict[str, str]:
    rollout = config.rollout
    environment = {
        "PILOT_INTAKE": rollout.intake,
        "PILOT_COHORT": ",".join(rollout.cohort),
        **{flag_variable(name): value for name, value in rollout.flags.items()},
    }
    if rollout.exposure == "flag":
        return environment | {"PILOT_ROLLOUT_PCT": f"{rollout.percent / 100:.2f}"}
    # The load balancer has chosen already, so that a variant serves all of its users the same.
    # A share that followed the percent would replace both task definitions at each stage.
    share = "1.00" if variant.name == "candidate" else "0.00"
    return environment | {"PILOT_ROLLOUT_PCT": share, "PILOT_VARIANT": variant.name}


def flag_variable(name: str) -> str:
    """Return the variable of a flag: `micPrompt` has `PILOT_FLAG_MIC_PROMPT`; no two share one."""
    return "PILOT_FLAG_" + re.sub(r"([A-Z])", r"_\1", name).upper()
