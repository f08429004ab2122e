"""
IAM policy documents, in which every statement says what for.

The reason is the statement's Sid, so that it stands next to the permission in the AWS console too; docs/aws.md is
written from it. A resource of `*` stands only where the service offers no permission by resource for the action, as
its page under https://docs.aws.amazon.com/service-authorization/latest/reference/ says; the code names that page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

Texts = pulumi.Input[str] | Sequence[pulumi.Input[str]]
Statement = Mapping[str, Any]


def allow(
    reason: str, actions: str | Sequence[str], resources: Texts, condition: Mapping[str, Any] | None = None
) -> Statement:
    """Allow *actions* on *resources*; *reason* is words of letters only, for IAM allows no others in a Sid."""
    statement = {"Sid": _sid(reason), "Effect": "Allow", "Action": actions, "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement


def allow_service(
    reason: str, service: str, actions: str | Sequence[str], resources: Texts, condition: Mapping[str, Any]
) -> Statement:
    """Allow an AWS *service* to do *actions*: a statement of a resource's own policy."""
    return {"Principal": {"Service": service}, **allow(reason, actions, resources, condition)}


def document(*statements: Statement) -> pulumi.Output[str]:
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": list(statements)})


def assumed_by(service: str, account: pulumi.Input[str]) -> pulumi.Output[str]:
    """
    Return a trust policy: *service* may assume the role, for its own *account* only.

    Without the condition another account's could be made to use it, the confused deputy of
    https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html.
    """
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": account}},
    }
    return document(statement)


class Role(pulumi.ComponentResource):
    """
    A role with what it allows, inline, and the managed policies that it shares with others.

    IAM lets a role have 10,240 characters inline. `arn` is known once the policies are attached: what uses the role
    does not start without its permissions.
    """

    arn: pulumi.Output[str]

    def __init__(
        self, name: str, *, role_name: str, trust: pulumi.Input[str], allows: Sequence[Statement] = (),
        shared: Mapping[str, pulumi.Input[str]] | None = None, boundary: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:  # fmt: skip
        super().__init__("pilot:aws:Role", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            name, name=role_name, assume_role_policy=trust, permissions_boundary=boundary, opts=child
        )  # fmt: skip
        attached: list[pulumi.Output[str]] = [
            aws.iam.RolePolicyAttachment(f"{name}-{key}", role=role.name, policy_arn=arn, opts=child).id
            for key, arn in (shared or {}).items()
        ]
        if allows:
            policy = aws.iam.RolePolicy(name, name="allows", role=role.name, policy=document(*allows), opts=child)
            attached.append(policy.id)
        self.arn = pulumi.Output.all(role.arn, *attached).apply(lambda known: str(known[0]))
        self.register_outputs({"arn": self.arn})


def _sid(reason: str) -> str:
    words = reason.split()
    if not all(word.isascii() and word.isalpha() for word in words):
        raise ValueError(f"{reason!r} is no Sid; a reason has words of letters only")
    return "".join(word[0].upper() + word[1:].lower() for word in words)
