"""
The pack as Pulumi runs it: `pulumi preview --policy-pack policypack`.

All are resource policies. A stack policy is asked after everything has been made, so that `pulumi up --skip-preview`
exits with an error and the change is there; a resource policy is asked before each resource. They read what is about to
be made and not the configuration: that does not reach a pack of pulumi-policy 1.21.
"""

from pathlib import Path

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
)

from policypack import moves, permissions, resources
from policypack.resources import Rule

ROOT = Path(__file__).resolve().parents[1]


def _policy(name: str, description: str, rule: Rule) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        for sentence in rule(args.resource_type, args.props):
            report(sentence, None)

    return ResourceValidationPolicy(name, description, validate)


def _stages(args: ResourceValidationArgs, report: ReportViolation) -> None:
    stack = args.urn.split("::")[0].rsplit(":", 1)[-1]  # get_stack() of pulumi-policy 1.21 says "stack"
    for sentence in moves.refusals(ROOT, stack, args.resource_type, args.props):
        report(sentence, None)


PolicyPack(
    "pilot",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[
        ResourceValidationPolicy("stages", "The percent moves along the ladder of rollout.yaml.", _stages),
        _policy("permissions", "Roles may do what they need, and are assumed by whom they are for.", permissions.rule),
        *(_policy(name, description, rule) for name, (description, rule) in resources.RULES.items()),
    ],
)
