"""What a role may do, and who may take it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

# Actions that take no resource but `*`, as far as stacks like ours use them (AWS Service Authorization Reference).
WITHOUT_IDS = (
    "acm:ListCertificates",
    "application-autoscaling:Describe*",
    "cloudwatch:DescribeAlarmsForMetric", "cloudwatch:GetMetricData", "cloudwatch:GetMetricStatistics",
    "cloudwatch:ListMetrics", "cloudwatch:PutMetricData",
    "ec2:Describe*",
    "ecr:GetAuthorizationToken",
    "ecs:DeregisterTaskDefinition", "ecs:DescribeTaskDefinition", "ecs:ListClusters", "ecs:ListServices",
    "ecs:ListTaskDefinition*",
    "elasticloadbalancing:Describe*",
    "events:ListRules",
    "kms:CreateKey", "kms:ListAliases",
    "logs:DescribeLogGroups",
    "s3:ListAllMyBuckets",
    "scheduler:ListSchedules",
    "secretsmanager:ListSecrets",
    "sns:ListTopics",
    "ssm:DescribeParameters",
    "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
    "sts:GetCallerIdentity",
    "tag:GetResources", "tag:GetTagKeys", "tag:GetTagValues",
    "xray:PutTelemetryRecords", "xray:PutTraceSegments",
)  # fmt: skip
_TOO_WIDE = ("AdministratorAccess", "PowerUserAccess", "IAMFullAccess")
_POLICIES = (
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/policy:Policy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
)
_OIDC = re.compile(r":oidc-provider/(.+)$")


def rule(kind: str, props: Mapping[str, Any]) -> Iterator[str]:
    """Sentences for what a role, or a policy of one, should not have."""
    if kind in _POLICIES:
        yield from allowed(props["policy"])
    elif kind == "aws:iam/role:Role":
        yield from trusted(props["assumeRolePolicy"])
        for inline in props.get("inlinePolicies") or []:
            yield from allowed(inline["policy"])
        yield from _attached(props.get("managedPolicyArns") or [])
    elif kind in ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "aws:iam/policyAttachment:PolicyAttachment"):
        yield from _attached([props["policyArn"]])


def allowed(document: str) -> Iterator[str]:
    """Sentences for a permission policy."""
    for statement in _statements(document):
        if "NotAction" in statement or "NotResource" in statement:
            yield "allows all but some (NotAction, NotResource), which grows with AWS; list what is needed"
            continue
        actions = _texts(statement.get("Action"))
        whole = [action for action in actions if action.split(":")[-1] == "*"]
        if whole:
            yield f"allows {', '.join(whole)}; list the actions that are needed"
        named = [action for action in actions if action not in whole and not _without_ids(action)]
        if named and "*" in _texts(statement.get("Resource")):
            yield f"allows {', '.join(named)} on every resource (*); name the ARNs, these actions take them"


def trusted(document: str) -> Iterator[str]:
    """Sentences for a trust policy."""
    for statement in _statements(document):
        principal = statement.get("Principal")
        whom = (
            [text for texts in principal.values() for text in _texts(texts)] if isinstance(principal, Mapping) else []
        )
        if principal == "*" or "*" in whom:
            yield "may be assumed by everyone (Principal *); name the service or the account"
        for issuer in {found[1] for text in whom if (found := _OIDC.search(text))}:
            if not _bound(statement.get("Condition") or {}, f"{issuer}:sub"):
                yield (
                    f"may be assumed by everyone whom {issuer} knows; bind {issuer}:sub to one repository, such as"
                    " repo:owner/name:environment:prod"
                )


def _bound(condition: Mapping[str, Any], key: str) -> bool:
    """Whether each subject that is let in begins with one repository (`repo:owner/name`, `project_path:group/name`)."""
    subjects = [text for tests in condition.values() for text in _texts(tests.get(key))]
    return bool(subjects) and not any("*" in ":".join(text.split(":")[:2]) for text in subjects)


def _attached(arns: Any) -> Iterator[str]:
    for arn in arns:
        name = str(arn).rsplit("/", 1)[-1]
        if name in _TOO_WIDE:
            yield f"has {name}; write a policy of the actions that are needed"


def _without_ids(action: str) -> bool:
    return any(fnmatchcase(action, pattern) for pattern in WITHOUT_IDS)


def _statements(document: str) -> Iterator[Mapping[str, Any]]:
    """The allowing statements of a policy document; one that is none is the provider's to refuse."""
    try:
        statements = json.loads(document)["Statement"]
    except (ValueError, LookupError, TypeError):
        return
    for statement in statements if isinstance(statements, list) else [statements]:
        if isinstance(statement, Mapping) and statement.get("Effect") == "Allow":
            yield statement


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [] if value is None else [str(value)]
