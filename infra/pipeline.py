"""Who may act on the stack from CI: an OIDC identity and its roles, in place of stored keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.config import PipelineConfig
from infra.permissions import Role, Statement, document

_HOSTS = {"github": "token.actions.githubusercontent.com", "gitlab": "gitlab.com"}
_AUDIENCES = {"github": "sts.amazonaws.com", "gitlab": "https://gitlab.com"}


@dataclass(frozen=True, kw_only=True)
class PipelineArgs:
    """
    `prefix` begins the roles' names; `reads` and `writes` are what previewing and applying the stack takes.

    `entry` is of applying too: network and ingress, apart since IAM limits the length of each policy.
    """

    prefix: str
    config: PipelineConfig
    reads: Sequence[Statement]
    entry: Sequence[Statement]
    writes: Sequence[Statement]


class Pipeline(pulumi.ComponentResource):
    """
    The forge's OIDC provider, unless the account has it already, and a role for each thing that CI does.

    `preview` only reads, and any pull request of the repository may assume it, and a job on the branch, which looks for
    drift. `up` may change the stack; it takes the branch and, on GitHub, a job of the environment, whose protection
    rules then guard the role as well. Forks get no token of the repository:
    https://docs.github.com/en/actions/reference/security/oidc.
    """

    preview_role_arn: pulumi.Output[str]
    up_role_arn: pulumi.Output[str]

    def __init__(self, name: str, args: PipelineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:Pipeline", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        config = args.config
        self._config = config
        if config.provider_arn:
            self._issuer: pulumi.Input[str] = config.provider_arn
        else:
            self._issuer = aws.iam.OpenIdConnectProvider(
                name,
                url=f"https://{_HOSTS[config.forge]}",
                client_id_lists=[_AUDIENCES[config.forge]],
                opts=child,
            ).arn
        policies = {"reads": args.reads, "entry": args.entry}
        arns = {
            key: aws.iam.Policy(key, name=f"{args.prefix}-{key}", policy=document(*statements), opts=child).arn
            for key, statements in policies.items()
        }
        self.preview_role_arn = Role(
            "preview", role_name=f"{args.prefix}-preview", trust=self._trust(self._pull_requests(), self._branch()),
            shared={"reads": arns["reads"]}, boundary=config.permissions_boundary_arn, opts=child,
        ).arn  # fmt: skip
        self.up_role_arn = Role(
            "up", role_name=f"{args.prefix}-up", trust=self._trust_environment(),
            shared=arns, allows=args.writes, boundary=config.permissions_boundary_arn, opts=child,
        ).arn  # fmt: skip
        self.register_outputs({"previewRoleArn": self.preview_role_arn, "upRoleArn": self.up_role_arn})

    def trust_branch(self) -> pulumi.Output[str]:
        """Return a trust policy for any job on the branch, such as one on a schedule."""
        return self._trust(self._branch())

    def _trust_environment(self) -> pulumi.Output[str]:
        """GitHub's subject names the environment in place of the branch; GitLab's knows no environment."""
        config = self._config
        if config.forge == "gitlab":
            return self._trust(self._branch())
        return self._trust(self._subject(f"environment:{config.environment}"), ref=f"refs/heads/{config.branch}")

    def _trust(self, *subjects: str, **claims: str) -> pulumi.Output[str]:
        """
        Trust tokens of the forge that are for AWS, have one of *subjects*, and all of *claims*.

        AWS compares `sub` and `aud` of every provider, and GitHub's `ref` besides:
        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html.
        """
        host = (self._config.provider_arn or f"oidc-provider/{_HOSTS[self._config.forge]}").split("oidc-provider/")[1]
        audience = _AUDIENCES[self._config.forge] if host in _HOSTS.values() else f"https://{host}"
        tests: dict[str, dict[str, Any]] = {
            "StringEquals": {f"{host}:{claim}": value for claim, value in {"aud": audience, **claims}.items()}
        }
        like = "StringLike" if any("*" in subject for subject in subjects) else "StringEquals"
        tests.setdefault(like, {})[f"{host}:sub"] = subjects
        return document(
            {
                "Effect": "Allow",
                "Principal": {"Federated": self._issuer},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": tests,
            }
        )

    def _pull_requests(self) -> str:
        return self._subject("pull_request" if self._config.forge == "github" else "ref_type:branch:ref:*")

    def _branch(self) -> str:
        ref = "ref:refs/heads/" if self._config.forge == "github" else "ref_type:branch:ref:"
        return self._subject(ref + self._config.branch)

    def _subject(self, what: str) -> str:
        """
        Return the subject of a job's token.

        https://docs.github.com/en/actions/reference/security/oidc,
        https://docs.gitlab.com/ci/secrets/id_token_authentication/
        """
        prefix = "repo" if self._config.forge == "github" else "project_path"
        return f"{prefix}:{self._config.repository}:{what}"
