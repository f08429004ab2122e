"""`rollout.yaml` as typed values: what may be written (`schema`), and how a file is read and refused (`loading`)."""

from controller.policy.loading import json_schema, load
from controller.policy.schema import Kpi, Policy, Stage, Trigger

__all__ = ["Kpi", "Policy", "Stage", "Trigger", "json_schema", "load"]
