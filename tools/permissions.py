"""
Write what each role may do, and why, into docs/aws.md: `python -m tools.permissions`.

It is read off the program, evaluated with everything on; the reason of a permission is its statement's Sid.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.rehearsal.localcloud import InProcess, LocalAws
from controller.rehearsal.localcloud.inprocess import Resource
from tests.infra import whole

PAGE = Path(__file__).parents[1] / "docs" / "aws.md"
BEGIN, END = "<!-- permissions: written by tools/permissions.py -->", "<!-- end of permissions -->"
_NAMES = {
    "ontogra-cluster": "<cluster>", "ontogra-api-svc-prod": "<service>-<stack>", "ontogra-api-svc": "<service>",
    "us-east-1": "<region>", "123456789012": "<account>", "arn:aws:": "",
}  # fmt: skip


def registered() -> tuple[Resource, ...]:
    """Return the AWS resources of prod with all that a stack file may turn on."""
    with LocalAws(datetime(2026, 3, 2, 9, tzinfo=UTC), seed=1) as cloud:
        pulumi = InProcess(cloud)
        config = whole.in_local_aws(cloud, whole.everything(whole.shipped("prod")))
        pulumi.up("prod", whole.PROJECT, whole.text(config))
        return pulumi.resources("prod")


def permissions(resources: tuple[Resource, ...]) -> str:
    """Return a section for every role and shared policy: who assumes it, and a line for each statement."""
    documents: dict[str, list[Any]] = {}
    for one in resources:
        if one.token in ("aws:iam/policy:Policy", "aws:iam/rolePolicy:RolePolicy"):
            name = one.inputs.get("role") or one.inputs["name"]
            documents.setdefault(name, []).extend(json.loads(one.inputs["policy"])["Statement"])
    trusts = {
        one.inputs["name"]: json.loads(one.inputs["assumeRolePolicy"])["Statement"][0]
        for one in resources
        if one.token == "aws:iam/role:Role"
    }
    shared: dict[str, list[str]] = {}
    for one in resources:
        if one.token == "aws:iam/rolePolicyAttachment:RolePolicyAttachment":
            shared.setdefault(one.inputs["role"], []).append(one.inputs["policyArn"].rsplit("/", 1)[1])
    parts = []
    for name in sorted(trusts.keys() | documents.keys()):
        lines = [f"### `{_general(name)}`", ""]
        if name in trusts:
            also = "".join(f" and the policy `{_general(policy)}`" for policy in sorted(shared.get(name, [])))
            lines.append(f"Assumed by {_whom(trusts[name])}. Has what stands here{also}.")
        elif name.endswith("-operator"):
            lines.append("A policy that an administrator attaches to the people who may break the glass.")
        else:
            lines.append("A policy that roles share.")
        lines += ["", *map(_line, documents.get(name, []))]
        parts.append("\n".join(lines).rstrip())
    return "\n\n".join(parts)


def _whom(statement: Any) -> str:
    ((kind, who),) = statement["Principal"].items()
    claims = statement["Condition"]
    said = "; ".join(
        f"`{_general(key.split(':')[-1])}` is `{_general(value)}`"
        for pairs in claims.values()
        for key, value in pairs.items()
    )
    return f"`{who}`, where {said}" if kind == "Service" else f"tokens of the forge, where {said}"


def _line(statement: Any) -> str:
    reason = re.sub(r"(?<!^)(?=[A-Z])", " ", statement["Sid"]).lower()
    actions, resources = (
        ", ".join(f"`{_general(one)}`" for one in ([value] if isinstance(value, str) else value))
        for value in (statement["Action"], statement["Resource"])
    )
    condition = f", if `{_general(json.dumps(statement['Condition']))}`" if "Condition" in statement else ""
    return f"- **{reason}**: {actions} on {resources}{condition}"


def _general(text: str) -> str:
    for name, general in _NAMES.items():
        text = text.replace(name, general)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]+", "<id>", text)


def written(page: str, section: str) -> str:
    """Return *page* with *section* between the marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(), permissions(registered())))
