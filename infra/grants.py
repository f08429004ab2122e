"""
What it takes of AWS to preview and apply this program, the permissions of the pipeline's roles, and to break the glass:
those of the people who may run `pilot kill` and `pilot rollback`.

Resources are named after the stack's names wherever the service allows it. Parts of a network have no names: these
are told apart by the tag that every resource of the stack carries.
"""

from __future__ import annotations

from infra.owned import Owned
from infra.permissions import Statement, allow

_NETWORK_PARTS = (
    "vpc", "subnet", "route-table", "internet-gateway", "natgateway", "elastic-ip", "security-group",
    "security-group-rule",
)  # fmt: skip


def reads(owned: Owned) -> list[Statement]:
    """Return what a preview reads, also one that refreshes first; it changes nothing."""
    return [
        # No permission by resource: list_amazonec2.html, list_awselasticloadbalancingv2.html,
        # list_amazonelasticcontainerservice.html, list_awssystemsmanager.html,
        # list_awsapplicationautoscaling.html, list_awskeymanagementservice.html, list_amazoncloudwatchlogs.html
        allow(
            "see what has no permission by name",
            [
                "application-autoscaling:DescribeScalableTargets",
                "application-autoscaling:DescribeScalingPolicies",
                "ec2:DescribeAddresses",
                "ec2:DescribeAvailabilityZones",
                "ec2:DescribeInternetGateways",
                "ec2:DescribeNatGateways",
                "ec2:DescribeNetworkAcls",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeRouteTables",
                "ec2:DescribeSecurityGroupRules",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
                "ecs:DescribeTaskDefinition",
                "elasticloadbalancing:DescribeListenerAttributes",
                "elasticloadbalancing:DescribeListenerCertificates",
                "elasticloadbalancing:DescribeListeners",
                "elasticloadbalancing:DescribeLoadBalancerAttributes",
                "elasticloadbalancing:DescribeLoadBalancers",
                "elasticloadbalancing:DescribeTags",
                "elasticloadbalancing:DescribeTargetGroupAttributes",
                "elasticloadbalancing:DescribeTargetGroups",
                "kms:ListAliases",
                "ssm:DescribeParameters",
            ],
            "*",
        ),
        allow("see the attributes of the network", "ec2:DescribeVpcAttribute", owned.network("vpc")),
        allow("see the attributes of addresses", "ec2:DescribeAddressesAttribute", owned.network("elastic-ip")),
        allow("see the cluster", ["ecs:DescribeClusters", "ecs:ListTagsForResource"], owned.cluster),
        allow("see the services", ["ecs:DescribeServices", "ecs:ListTagsForResource"], owned.services),
        allow(
            "see the roles",
            ["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"],
            owned.roles_by_pattern,
        ),
        allow("see the shared policies", ["iam:GetPolicy", "iam:GetPolicyVersion"], owned.policies),
        allow("see the identity provider", "iam:GetOpenIDConnectProvider", owned.provider),
        allow("see the log groups", ["logs:DescribeLogGroups", "logs:ListTagsForResource"], owned.log_groups),
        allow("see the alarms", ["cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource"], owned.alarms),
        allow("see the parameters", ["ssm:GetParameter", "ssm:GetParameters"], owned.parameters),
        allow("find the parameters", "ssm:GetParametersByPath", [owned.parameters_path, owned.parameters]),
        allow("see the tags of the parameters", "ssm:ListTagsForResource", owned.parameters),
        allow("see the topic", ["sns:GetTopicAttributes", "sns:ListTagsForResource"], owned.topic),
        allow("see who is told", "sns:GetSubscriptionAttributes", owned.topic),
        allow("see the queue", ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags"], owned.queue),
        allow("see the schedule", "scheduler:GetSchedule", owned.schedule),
        allow("see the tags of scaling", "application-autoscaling:ListTagsForResource", owned.scalable),
        allow(
            "see the key of the topic",
            ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags"],
            owned.arn("kms", "key/*"),
            owned.tagged,
        ),
        allow(
            "see the bucket of the access logs",
            [
                "s3:GetBucketPolicy", "s3:GetBucketPublicAccessBlock", "s3:GetBucketTagging", "s3:GetBucketVersioning",
                "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration", "s3:ListBucket",
                "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketWebsite", "s3:GetBucketLogging",
                "s3:GetAccelerateConfiguration", "s3:GetBucketRequestPayment", "s3:GetReplicationConfiguration",
                "s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls",
            ],
            owned.bucket,
        ),
        *_state(owned, ["s3:GetObject"], "read"),
    ]  # fmt: skip


def entry(owned: Owned) -> list[Statement]:
    """Return what applying takes beside that for the network and the way in."""
    return [*_network(owned), *_ingress(owned)]


def writes(owned: Owned) -> list[Statement]:
    """Return what else applying takes."""
    return [*_running(owned), *_around(owned), *_roles(owned)]


def operates(owned: Owned) -> list[Statement]:
    """Return what `pilot kill` and `pilot rollback` take."""
    service = owned.config.service
    tasks = [
        owned.arn("iam", f"role/{service.cluster}-{service.name}-{name}", region=False)
        for name in ("execution", "task")
    ]
    families = [
        owned.arn("ecs", f"task-definition/{service.cluster}-{variant.service}:*") for variant in owned.config.variants
    ]
    return [
        # No permission by resource: list_amazonelasticcontainerservice.html, list_awselasticloadbalancingv2.html
        allow(
            "see what runs and the weights",
            ["ecs:DescribeTaskDefinition", "elasticloadbalancing:DescribeListeners",
             "elasticloadbalancing:DescribeTargetGroups"],
            "*",
        ),
        allow("see what ran before", ["ecs:DescribeServices", "ecs:ListServiceDeployments"], owned.services),
        allow(
            "see which revisions these were", "ecs:DescribeServiceRevisions",
            owned.arn("ecs", f"service-revision/{service.cluster}/*"),
        ),
        allow("write a revision that is paused", ["ecs:RegisterTaskDefinition", "ecs:TagResource"], families),
        allow(
            "give it the roles of the tasks", "iam:PassRole", tasks,
            {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        ),
        allow("deploy it", "ecs:UpdateService", owned.services),
        allow("send all traffic to stable", "elasticloadbalancing:ModifyListener", owned.balancing("listener")),
        allow("tell the app and record the stop", ["ssm:GetParameter", "ssm:PutParameter"], owned.parameters),
    ]  # fmt: skip


def _network(owned: Owned) -> list[Statement]:
    making = {"StringEquals": {"ec2:CreateAction": [
        "CreateVpc", "CreateSubnet", "CreateRouteTable", "CreateInternetGateway", "CreateNatGateway", "AllocateAddress",
        "CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress",
    ]}}  # fmt: skip
    return [
        allow(
            "make the network",
            [
                "ec2:AllocateAddress", "ec2:CreateInternetGateway", "ec2:CreateNatGateway", "ec2:CreateRouteTable",
                "ec2:CreateSecurityGroup", "ec2:CreateSubnet", "ec2:CreateVpc",
            ],
            owned.network(*_NETWORK_PARTS),
        ),
        allow("tag what is made", "ec2:CreateTags", owned.network(*_NETWORK_PARTS), making),
        allow(
            "change and delete the network of the stack",
            [
                "ec2:AssociateRouteTable", "ec2:AttachInternetGateway", "ec2:AuthorizeSecurityGroupEgress",
                "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateRoute", "ec2:CreateTags", "ec2:DeleteInternetGateway",
                "ec2:DeleteNatGateway", "ec2:DeleteRoute", "ec2:DeleteRouteTable", "ec2:DeleteSecurityGroup",
                "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc", "ec2:DetachInternetGateway",
                "ec2:DisassociateRouteTable", "ec2:ModifyVpcAttribute", "ec2:ReleaseAddress",
                "ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress",
            ],
            owned.network(*_NETWORK_PARTS),
            owned.tagged,
        ),
        # No permission by resource: list_amazonec2.html
        allow("let go of addresses", "ec2:DisassociateAddress", owned.network("elastic-ip"), owned.tagged),
    ]  # fmt: skip


def _ingress(owned: Owned) -> list[Statement]:
    elb = "elasticloadbalancing:"
    return [
        allow(
            "keep the load balancer",
            [elb + action for action in (
                "AddTags", "RemoveTags", "CreateLoadBalancer", "CreateListener", "DeleteLoadBalancer",
                "ModifyLoadBalancerAttributes", "SetSecurityGroups", "SetSubnets",
            )],
            owned.balancing("loadbalancer"),
        ),
        allow(
            "keep the weights",
            [elb + action for action in (
                "AddTags", "RemoveTags", "DeleteListener", "ModifyListener", "ModifyListenerAttributes",
            )],
            owned.balancing("listener"),
        ),
        allow(
            "keep the target groups",
            [elb + action for action in (
                "AddTags", "RemoveTags", "CreateTargetGroup", "DeleteTargetGroup", "ModifyTargetGroup",
                "ModifyTargetGroupAttributes",
            )],
            owned.balancing("targetgroup"),
        ),
        allow(
            "keep the bucket of the access logs",
            [
                "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:PutBucketPolicy",
                "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging", "s3:PutEncryptionConfiguration",
                "s3:PutLifecycleConfiguration",
            ],
            owned.bucket,
        ),
    ]  # fmt: skip


def _running(owned: Owned) -> list[Statement]:
    scaling = "application-autoscaling:"
    return [
        # No permission by resource: list_amazonelasticcontainerservice.html
        allow("take out a revision", "ecs:DeregisterTaskDefinition", "*"),
        allow("add a revision", ["ecs:RegisterTaskDefinition", "ecs:TagResource"], owned.task_definitions),
        allow(
            "keep the cluster",
            [
                "ecs:CreateCluster", "ecs:DeleteCluster", "ecs:TagResource", "ecs:UpdateCluster",
                "ecs:UpdateClusterSettings",
            ],
            owned.cluster,
        ),
        allow(
            "deploy the services",
            ["ecs:CreateService", "ecs:DeleteService", "ecs:TagResource", "ecs:UpdateService"],
            owned.services,
        ),
        allow(
            "scale the services",
            [scaling + action for action in (
                "DeleteScalingPolicy", "DeregisterScalableTarget", "PutScalingPolicy", "RegisterScalableTarget",
                "TagResource",
            )],
            owned.scalable,
        ),
    ]  # fmt: skip


def _around(owned: Owned) -> list[Statement]:
    return [
        allow(
            "keep the logs",
            ["logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:TagResource"],
            owned.log_groups,
        ),
        allow(
            "keep the alarms",
            ["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource"],
            owned.alarms,
        ),
        allow(
            "write what was applied",
            ["ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:PutParameter"],
            owned.parameters,
        ),
        allow(
            "keep the topic",
            ["sns:CreateTopic", "sns:DeleteTopic", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource"],
            owned.topic,
        ),
        allow("stop telling", "sns:Unsubscribe", owned.topic),
        allow(
            "keep the queue",
            ["sqs:CreateQueue", "sqs:DeleteQueue", "sqs:SetQueueAttributes", "sqs:TagQueue"],
            owned.queue,
        ),
        allow(
            "keep the schedule",
            ["scheduler:CreateSchedule", "scheduler:DeleteSchedule", "scheduler:UpdateSchedule"],
            owned.schedule,
        ),
        # No permission by resource: list_awskeymanagementservice.html
        allow("make the key of the topic", "kms:CreateKey", "*"),
        allow(
            "keep the key of the topic",
            ["kms:EnableKeyRotation", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:TagResource",
             "kms:UpdateKeyDescription"],
            owned.arn("kms", "key/*"),
            owned.tagged,
        ),
        *_state(owned, ["s3:DeleteObject", "s3:PutObject"], "write"),
    ]  # fmt: skip


def _roles(owned: Owned) -> list[Statement]:
    """Whoever may write a role's policy may give it anything that the boundary lets through."""
    pipeline = owned.config.pipeline
    boundary = pipeline.permissions_boundary_arn if pipeline else None
    bound = {"StringEquals": {"iam:PermissionsBoundary": boundary}} if boundary else None
    linked = [
        owned.arn("iam", f"role/aws-service-role/{service}/*", region=False)
        for service in (
            "ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com", "ecs.application-autoscaling.amazonaws.com"
        )
    ]  # fmt: skip
    return [
        allow(
            "grant to the roles", ["iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy"], owned.roles, bound
        ),
        allow(
            "attach the shared policies",
            ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
            owned.roles,
            {"ArnEquals": {"iam:PolicyARN": owned.policies}},
        ),
        allow(
            "keep the shared policies",
            ["iam:CreatePolicy", "iam:CreatePolicyVersion", "iam:DeletePolicy", "iam:DeletePolicyVersion",
             "iam:ListPolicyVersions", "iam:TagPolicy"],
            owned.policies,
        ),
        allow(
            "keep the roles",
            ["iam:DeleteRole", "iam:ListInstanceProfilesForRole", "iam:TagRole", "iam:UntagRole",
             "iam:UpdateAssumeRolePolicy"],
            owned.roles,
        ),
        allow(
            "give tasks and the schedule their roles",
            "iam:PassRole",
            owned.roles,
            {"StringEquals": {"iam:PassedToService": ["ecs-tasks.amazonaws.com", "scheduler.amazonaws.com"]}},
        ),
        allow(
            "keep the identity provider",
            ["iam:CreateOpenIDConnectProvider", "iam:DeleteOpenIDConnectProvider", "iam:TagOpenIDConnectProvider"],
            owned.provider,
        ),
        allow("let the services of AWS make their own roles once", "iam:CreateServiceLinkedRole", linked),
    ]  # fmt: skip


def _state(owned: Owned, actions: list[str], verb: str) -> list[Statement]:
    """Return the way to Pulumi's state where it is in S3; Pulumi Cloud has its own."""
    pipeline = owned.config.pipeline
    if pipeline is None or pipeline.state_bucket is None:
        return []
    bucket = f"arn:aws:s3:::{pipeline.state_bucket}"
    statements = [allow(f"{verb} the state of Pulumi", actions, f"{bucket}/*")]
    if verb == "read":
        statements.append(allow("find the state of Pulumi", "s3:ListBucket", bucket))
        if pipeline.state_key_arn:
            statements.append(allow("decrypt the secrets of Pulumi", "kms:Decrypt", pipeline.state_key_arn))
    return statements
