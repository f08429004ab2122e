"""
What it takes of AWS to preview and apply this program, the permissions of the pipeline's roles, and to break the glass:
those of the people who may run `pilot kill` and `pilot rollback`.

Resources are named after the stack's names wherever the service allows it. Parts of a network and keys have no names:
these are told apart by the tag that every resource of the stack carries.
"""

from __future__ import annotations

from infra.owned import STACK_TAG, Owned
from infra.permissions import Statement, allow


def reads(owned: Owned) -> list[Statement]:
    """Return what a preview reads, also one that refreshes first; it changes nothing."""
    return [
        # No permission by resource: list_amazonec2.html, list_awselasticloadbalancingv2.html,
        # list_amazonelasticcontainerservice.html, list_awssystemsmanager.html, list_awsapplicationautoscaling.html
        allow(
            "see what has no permission by name",
            _of("application-autoscaling", "DescribeScalableTargets DescribeScalingPolicies")
            + _of(
                "ec2",
                "DescribeAddresses DescribeAvailabilityZones DescribeInternetGateways DescribeNatGateways"
                " DescribeNetworkAcls DescribeNetworkInterfaces DescribeRouteTables DescribeSecurityGroupRules"
                " DescribeSecurityGroups DescribeSubnets DescribeVpcs",
            )
            + ["ecs:DescribeTaskDefinition"]
            + _of(
                "elasticloadbalancing",
                "DescribeListenerAttributes DescribeListeners DescribeLoadBalancerAttributes DescribeLoadBalancers"
                " DescribeTags DescribeTargetGroupAttributes DescribeTargetGroups",
            )
            + ["ssm:DescribeParameters"],
            "*",
        ),
        # Asked for by a name's beginning, which is a question about all of them
        allow("find the log groups", "logs:DescribeLogGroups", owned.arn("logs", "log-group:*")),
        allow("find the alarms", "cloudwatch:DescribeAlarms", owned.arn("cloudwatch", "alarm:*")),
        allow("see the attributes of the network", "ec2:DescribeVpcAttribute", owned.network("vpc")),
        allow("see the attributes of addresses", "ec2:DescribeAddressesAttribute", owned.network("elastic-ip")),
        allow("see the cluster", _of("ecs", "DescribeClusters ListTagsForResource"), owned.cluster),
        allow("see the services", _of("ecs", "DescribeServices ListTagsForResource"), owned.services),
        allow(
            "see the roles",
            _of("iam", "GetRole GetRolePolicy ListAttachedRolePolicies ListRolePolicies"),
            owned.roles_by_pattern,
        ),
        allow("see the shared policies", _of("iam", "GetPolicy GetPolicyVersion"), owned.policies),
        allow("see the identity provider", "iam:GetOpenIDConnectProvider", owned.provider),
        allow("see the tags of the log groups", "logs:ListTagsForResource", owned.log_groups()),
        allow("see the tags of the alarms", "cloudwatch:ListTagsForResource", owned.alarms),
        allow("see the parameters", _of("ssm", "GetParameter GetParameters ListTagsForResource"), owned.parameters),
        allow("find the parameters", "ssm:GetParametersByPath", [owned.parameters_path, owned.parameters]),
        allow(
            "see the topic and who is told",
            _of("sns", "GetSubscriptionAttributes GetTopicAttributes ListTagsForResource"),
            owned.topic,
        ),
        allow("see the queue", _of("sqs", "GetQueueAttributes GetQueueUrl ListQueueTags"), owned.queue),
        allow("see the schedule", "scheduler:GetSchedule", owned.schedule),
        allow("see the tags of scaling", "application-autoscaling:ListTagsForResource", owned.scalable),
        allow(
            "see the key of the topic",
            _of("kms", "DescribeKey GetKeyPolicy GetKeyRotationStatus ListResourceTags"),
            owned.keys,
            owned.tagged,
        ),
        allow(
            "see the bucket of the access logs",
            _of(
                "s3",
                "GetAccelerateConfiguration GetBucketAcl GetBucketCORS GetBucketLogging"
                " GetBucketObjectLockConfiguration GetBucketPolicy GetBucketPublicAccessBlock GetBucketRequestPayment"
                " GetBucketTagging GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration"
                " GetLifecycleConfiguration GetReplicationConfiguration ListBucket ListTagsForResource",
            ),
            owned.bucket,
        ),
        *_state(owned, "read", "GetObject"),
    ]


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
    making = ("AllocateAddress", "CreateInternetGateway", "CreateNatGateway", "CreateRouteTable", "CreateSecurityGroup",
              "CreateSubnet", "CreateVpc")  # fmt: skip
    parts = owned.network("vpc", "subnet", "route-table", "internet-gateway", "natgateway", "elastic-ip",
                          "security-group", "security-group-rule")  # fmt: skip
    return [
        allow("make the network", _of("ec2", " ".join(making)), parts),
        allow("tag what is made", "ec2:CreateTags", parts, {"StringEquals": {"ec2:CreateAction": list(making)}}),
        allow(
            "change and delete the network of the stack",
            _of(
                "ec2",
                "AssociateRouteTable AttachInternetGateway AuthorizeSecurityGroupEgress AuthorizeSecurityGroupIngress"
                " CreateRoute CreateTags DeleteInternetGateway DeleteNatGateway DeleteRoute DeleteRouteTable"
                " DeleteSecurityGroup DeleteSubnet DeleteTags DeleteVpc DetachInternetGateway DisassociateAddress"
                " DisassociateRouteTable ModifyVpcAttribute ReleaseAddress RevokeSecurityGroupEgress"
                " RevokeSecurityGroupIngress",
            ),
            parts,
            owned.tagged,
        ),
    ]


def _ingress(owned: Owned) -> list[Statement]:
    return [
        allow(
            "keep the load balancer",
            _of(
                "elasticloadbalancing",
                "AddTags CreateListener CreateLoadBalancer DeleteLoadBalancer ModifyLoadBalancerAttributes RemoveTags"
                " SetSecurityGroups SetSubnets",
            ),
            owned.balancing("loadbalancer/app/{}/*"),
        ),
        allow(
            "keep the weights",
            _of(
                "elasticloadbalancing", "AddTags DeleteListener ModifyListener ModifyListenerAttributes RemoveTags"
            ),
            owned.balancing("listener/app/{}/*"),
        ),
        allow(
            "keep the target groups",
            _of(
                "elasticloadbalancing",
                "AddTags CreateTargetGroup DeleteTargetGroup ModifyTargetGroup ModifyTargetGroupAttributes RemoveTags",
            ),
            owned.balancing("targetgroup/{}*"),
        ),
        allow(
            "keep the bucket of the access logs",
            _of(
                "s3",
                "CreateBucket DeleteBucket DeleteBucketPolicy PutBucketPolicy PutBucketPublicAccessBlock"
                " PutBucketTagging PutEncryptionConfiguration PutLifecycleConfiguration TagResource UntagResource",
            ),
            owned.bucket,
        ),
    ]  # fmt: skip


def _running(owned: Owned) -> list[Statement]:
    """Revisions are added and never taken out: ECS and people go back to them."""
    return [
        allow("add a revision", _of("ecs", "RegisterTaskDefinition TagResource"), owned.task_definitions),
        allow(
            "keep the cluster",
            _of("ecs", "CreateCluster DeleteCluster TagResource UntagResource UpdateCluster UpdateClusterSettings"),
            owned.cluster,
        ),
        allow(
            "deploy the services",
            _of("ecs", "CreateService DeleteService TagResource UntagResource UpdateService"),
            owned.services,
        ),
        allow(
            "scale the services",
            _of(
                "application-autoscaling",
                "DeleteScalingPolicy DeregisterScalableTarget PutScalingPolicy RegisterScalableTarget TagResource"
                " UntagResource",
            ),
            owned.scalable,
        ),
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/auto-scaling-IAM.html
        allow(
            "keep the alarms that scaling makes",
            _of("cloudwatch", "DeleteAlarms PutMetricAlarm"),
            owned.scaling_alarms,
        ),
    ]


def _around(owned: Owned) -> list[Statement]:
    ours = {"StringEquals": {f"aws:RequestTag/{STACK_TAG}": owned.config.stack}}
    return [
        allow("keep the logs", _of("logs", "CreateLogGroup DeleteLogGroup PutRetentionPolicy"), owned.log_groups(":*")),
        allow("tag the logs", _of("logs", "TagResource UntagResource"), owned.log_groups()),
        allow(
            "keep the alarms",
            _of("cloudwatch", "DeleteAlarms PutMetricAlarm TagResource UntagResource"),
            owned.alarms,
        ),
        allow(
            "write what was applied",
            _of("ssm", "AddTagsToResource DeleteParameter PutParameter RemoveTagsFromResource"),
            owned.parameters,
        ),
        allow(
            "keep the topic and who is told",
            _of(
                "sns",
                "CreateTopic DeleteTopic SetTopicAttributes Subscribe TagResource Unsubscribe UntagResource",
            ),
            owned.topic,
        ),
        allow(
            "keep the queue",
            _of("sqs", "CreateQueue DeleteQueue SetQueueAttributes TagQueue UntagQueue"),
            owned.queue,
        ),
        allow("keep the schedule", _of("scheduler", "CreateSchedule DeleteSchedule UpdateSchedule"), owned.schedule),
        # No permission by resource: list_awskeymanagementservice.html. A key that is being made has no tag yet:
        # https://docs.aws.amazon.com/kms/latest/developerguide/tag-permissions.html.
        allow("make the key of the topic", "kms:CreateKey", "*", ours),
        allow("tag the key that is made", "kms:TagResource", owned.keys, ours),
        allow(
            "keep the key of the topic",
            _of(
                "kms",
                "EnableKeyRotation PutKeyPolicy ScheduleKeyDeletion TagResource UntagResource UpdateKeyDescription",
            ),
            owned.keys,
            owned.tagged,
        ),
        *_state(owned, "write", "DeleteObject PutObject"),
    ]  # fmt: skip


def _roles(owned: Owned) -> list[Statement]:
    """Whoever may write a role's policy may give it anything that the boundary lets through."""
    pipeline = owned.config.pipeline
    boundary = pipeline.permissions_boundary_arn if pipeline else None
    bound = {"StringEquals": {"iam:PermissionsBoundary": boundary}} if boundary else None
    return [
        allow("grant to the roles", _of("iam", "CreateRole DeleteRolePolicy PutRolePolicy"), owned.roles, bound),
        allow(
            "attach the shared policies",
            _of("iam", "AttachRolePolicy DetachRolePolicy"),
            owned.roles,
            {"ArnEquals": {"iam:PolicyARN": owned.policies}},
        ),
        allow(
            "keep the shared policies",
            _of(
                "iam",
                "CreatePolicy CreatePolicyVersion DeletePolicy DeletePolicyVersion ListPolicyVersions TagPolicy"
                " UntagPolicy",
            ),
            owned.policies,
        ),
        allow(
            "keep the roles",
            _of("iam", "DeleteRole ListInstanceProfilesForRole TagRole UntagRole UpdateAssumeRolePolicy"),
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
            _of(
                "iam",
                "CreateOpenIDConnectProvider DeleteOpenIDConnectProvider TagOpenIDConnectProvider"
                " UntagOpenIDConnectProvider",
            ),
            owned.provider,
        ),
        allow("let the services of AWS make their own roles once", "iam:CreateServiceLinkedRole", owned.linked_roles),
    ]


def _state(owned: Owned, verb: str, actions: str) -> list[Statement]:
    """Return the way to Pulumi's state where it is in S3; Pulumi Cloud has its own."""
    pipeline = owned.config.pipeline
    if pipeline is None or pipeline.state_bucket is None:
        return []
    bucket = f"arn:aws:s3:::{pipeline.state_bucket}"
    statements = [allow(f"{verb} the state of Pulumi", _of("s3", actions), f"{bucket}/*")]
    if verb == "read":
        statements.append(allow("find the state of Pulumi", "s3:ListBucket", bucket))
        if pipeline.state_key_arn:
            statements.append(allow("decrypt the secrets of Pulumi", "kms:Decrypt", pipeline.state_key_arn))
    return statements


def _of(service: str, actions: str) -> list[str]:
    """Return *actions*, words, with the prefix of their service."""
    return [f"{service}:{action}" for action in actions.split()]
