"""Roles, what they allow, and whose tokens they trust."""

from __future__ import annotations

import json
from typing import Any

from controller.rehearsal.localcloud.kinds.base import Found, Kind, one_of, without
from controller.rehearsal.localcloud.shapes import UNKNOWN, BadInputError, Bag

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: of all inline policies of a role, without
# white space; of its trust policy.
_ALLOWS_SIZE, _TRUST_SIZE = 10_240, 2_048
_MANAGED_SIZE = 6_144  # of one policy that roles share, likewise


def policy(name: str, text: Any) -> None:
    """Refuse a policy document that IAM would call malformed."""
    if text is None or text == UNKNOWN:
        return
    try:
        statements = json.loads(text)["Statement"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{name} is not a policy document: {error!r}") from None
    for statement in statements if isinstance(statements, list) else [statements]:
        one_of(f"{name}.Statement.Effect", statement.get("Effect"), ("Allow", "Deny"))


class Role(Kind):
    token = "aws:iam/role:Role"
    creates = ("iam", "CreateRole")
    replaced_by = frozenset({"name"})

    def request(self, inputs: Bag) -> Bag:
        document = inputs.get("assumeRolePolicy")
        named = {"roleName": inputs.get("name"), "assumeRolePolicyDocument": document}
        return {**without(inputs, "name", "assumeRolePolicy"), **named}

    def rules(self, inputs: Bag) -> None:
        policy("assumeRolePolicy", inputs.get("assumeRolePolicy"))
        if (size := _size(inputs.get("assumeRolePolicy"))) > _TRUST_SIZE:
            raise BadInputError(f"assumeRolePolicy has {size} characters; IAM allows {_TRUST_SIZE}")

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["Role"]["RoleName"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        changes = {"roleName": id_, "policyDocument": new["assumeRolePolicy"]}
        self.aws.call("iam", "UpdateAssumeRolePolicy", changes)

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("iam", "GetRole", {"roleName": id_})
        if not found:
            return None
        role = found["Role"]
        document = same_document(state.get("assumeRolePolicy"), role["AssumeRolePolicyDocument"])
        return Found({"name": id_, "assumeRolePolicy": document}, {"arn": role["Arn"]})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("iam", "DeleteRole", {"roleName": id_})


class RolePolicy(Kind):
    token = "aws:iam/rolePolicy:RolePolicy"
    creates = ("iam", "PutRolePolicy")
    replaced_by = frozenset({"name", "role"})
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        return {
            **without(inputs, "role", "name", "policy"),
            "roleName": inputs.get("role"),
            "policyName": inputs.get("name"),
            "policyDocument": inputs.get("policy"),
        }

    def rules(self, inputs: Bag) -> None:
        policy("policy", inputs.get("policy"))

    def references(self, inputs: Bag) -> None:
        """Refuse what makes a role's inline policies too long: IAM counts them together."""
        role = {"roleName": inputs["role"]}
        sizes = {inputs["name"]: _size(inputs["policy"])}
        for name in self.aws.call("iam", "ListRolePolicies", role)["PolicyNames"]:
            found = self.aws.call("iam", "GetRolePolicy", {**role, "policyName": name})
            sizes.setdefault(name, _size(json.dumps(found["PolicyDocument"])))
        if sum(sizes.values()) > _ALLOWS_SIZE:
            raise BadInputError(f"{inputs['role']} allows {sum(sizes.values())} characters inline; IAM {_ALLOWS_SIZE}")

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        return f"{inputs['role']}:{inputs['name']}"

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.created(new)

    def find(self, id_: str, state: Bag) -> Found | None:
        role, name = id_.split(":")
        found = self.aws.find("iam", "GetRolePolicy", {"roleName": role, "policyName": name})
        if not found:
            return None
        document = same_document(state.get("policy"), found["PolicyDocument"])
        return Found({"role": role, "name": name, "policy": document}, {})

    def delete(self, id_: str, state: Bag) -> None:
        role, name = id_.split(":")
        self.aws.call("iam", "DeleteRolePolicy", {"roleName": role, "policyName": name})


def same_document(declared: Any, live: Any) -> Any:
    """Return the declared text where the live document means the same, else the live one's."""
    if isinstance(declared, str) and declared != UNKNOWN and json.loads(declared) == live:
        return declared
    return json.dumps(live)


def _size(document: Any) -> int:
    """Return the length of a policy as IAM counts it."""
    return 0 if not isinstance(document, str) else len("".join(document.split()))


class ManagedPolicy(Kind):
    token = "aws:iam/policy:Policy"
    creates = ("iam", "CreatePolicy")
    replaced_by = frozenset({"name"})

    def request(self, inputs: Bag) -> Bag:
        named = {"policyName": inputs.get("name"), "policyDocument": inputs.get("policy")}
        return {**without(inputs, "name", "policy"), **named}

    def rules(self, inputs: Bag) -> None:
        policy("policy", inputs.get("policy"))
        if (size := _size(inputs.get("policy"))) > _MANAGED_SIZE:
            raise BadInputError(f"policy has {size} characters; IAM allows {_MANAGED_SIZE}")

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["Policy"]["Arn"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        """Make another version the default; the one before goes, for IAM keeps five."""
        before = self.aws.call("iam", "GetPolicy", {"policyArn": id_})["Policy"]["DefaultVersionId"]
        version = {"policyArn": id_, "policyDocument": new["policy"], "setAsDefault": True}
        self.aws.call("iam", "CreatePolicyVersion", version)
        self.aws.call("iam", "DeletePolicyVersion", {"policyArn": id_, "versionId": before})

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("iam", "GetPolicy", {"policyArn": id_})
        if not found:
            return None
        asked = {"policyArn": id_, "versionId": found["Policy"]["DefaultVersionId"]}
        live = self.aws.call("iam", "GetPolicyVersion", asked)["PolicyVersion"]["Document"]
        described = {"name": found["Policy"]["PolicyName"], "policy": same_document(state.get("policy"), live)}
        return Found(described, {"arn": id_})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("iam", "DeletePolicy", {"policyArn": id_})


class RolePolicyAttachment(Kind):
    token = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    creates = ("iam", "AttachRolePolicy")
    always_replaced = True
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        return {"roleName": inputs.get("role"), "policyArn": inputs.get("policyArn")}

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        return f"{inputs['role']}/{inputs['policyArn']}"

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("iam", "ListAttachedRolePolicies", {"roleName": state["role"]})
        attached = [one["PolicyArn"] for one in found["AttachedPolicies"]] if found else []
        return Found({}, {}) if state["policyArn"] in attached else None

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("iam", "DetachRolePolicy", self.request(state))


class OpenIdConnectProvider(Kind):
    token = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
    creates = ("iam", "CreateOpenIDConnectProvider")
    replaced_by = frozenset({"url"})

    def request(self, inputs: Bag) -> Bag:
        return {**without(inputs, "clientIdLists"), "clientIDList": inputs.get("clientIdLists")}

    def rules(self, inputs: Bag) -> None:
        url = inputs.get("url")
        if isinstance(url, str) and url != UNKNOWN and not url.startswith("https://"):
            raise BadInputError(f"url is {url!r}; it should begin with https://")

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["OpenIDConnectProviderArn"])

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("iam", "GetOpenIDConnectProvider", {"openIDConnectProviderArn": id_})
        if not found:
            return None
        return Found({"url": f"https://{found['Url']}", "clientIdLists": found["ClientIDList"]}, {"arn": id_})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("iam", "DeleteOpenIDConnectProvider", {"openIDConnectProviderArn": id_})


KINDS: tuple[type[Kind], ...] = (Role, RolePolicy, ManagedPolicy, RolePolicyAttachment, OpenIdConnectProvider)
