"""What each optional part of a stack file makes, and what its mistakes are told."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from tests.infra import whole
from tests.infra.conftest import evaluate

Evaluate = Callable[..., Any]
Config = Callable[..., dict[str, Any]]
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b2c3d"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-a1B2c3"
PARAMETER = "arn:aws:ssm:eu-west-1:123456789012:parameter/key"
PIPELINE = {"forge": "github", "repository": "acme/shop", "environment": "prod"}


def allowed(made: Any, role: str) -> dict[str, list[str]]:
    """What a role is allowed inline: action to resources."""
    statements = json.loads(made.of("RolePolicy")[role]["policy"])["Statement"]
    listed = [(one["Action"], one["Resource"]) for one in statements]
    return {
        action: [resources] if isinstance(resources, str) else resources
        for actions, resources in listed
        for action in ([actions] if isinstance(actions, str) else actions)
    }


def trusted(made: Any, role: str) -> dict[str, Any]:
    (statement,) = json.loads(made.of("Role")[role]["assumeRolePolicy"])["Statement"]
    return dict(statement["Condition"])


@pytest.fixture(scope="module")
def all_on() -> Any:
    """The program with everything on, prod with traffic at 10 %."""
    return evaluate(whole.everything(whole.shipped("prod")), "prod")


PRIVATE = [f"network-private-{i}-id" for i in range(3)]
BALANCER = {"LoadBalancer": "suffix/ingress"}
CANDIDATE = {**BALANCER, "TargetGroup": "suffix/candidate"}


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("Vpc", "network", {"enableDnsHostnames": True}),
        ("RouteTable", "network-public", {"routes": [{"cidrBlock": "0.0.0.0/0", "gatewayId": "network-id"}]}),
        ("RouteTable", "network-2-private", {"routes": [{"cidrBlock": "0.0.0.0/0", "natGatewayId": "network-2-id"}]}),
        ("NatGateway", "network-2", {"subnetId": "network-public-2-id"}),
        ("Cluster", "cluster", {"settings": [{"name": "containerInsights", "value": "enabled"}]}),
        ("LogGroup", "cluster", {"retentionInDays": 365}),
        ("LoadBalancer", "ingress", {"internal": False, "loadBalancerType": "application", "securityGroups": ["ingress-id"]}),
        ("TargetGroup", "candidate", {
            "port": 8080, "protocol": "HTTP", "targetType": "ip", "healthCheck": {
                "path": "/health", "matcher": "200", "interval": 10, "timeout": 5, "healthyThreshold": 2,
                "unhealthyThreshold": 3}}),
        ("Service", "candidate", {
            "desiredCount": 3, "launchType": "FARGATE", "taskDefinition": "arn:candidate",
            "deploymentMinimumHealthyPercent": 100, "deploymentMaximumPercent": 200, "healthCheckGracePeriodSeconds": 60,
            "loadBalancers": [{"containerName": "app", "containerPort": 8080, "targetGroupArn": "arn:candidate"}],
            "networkConfiguration": {"subnets": PRIVATE, "securityGroups": ["cluster-id"], "assignPublicIp": False}}),
        ("TaskDefinition", "candidate", {"executionRoleArn": "arn:execution", "taskRoleArn": "arn:task", "skipDestroy": True}),
        ("Policy", "stable-cpu", {"targetTrackingScalingPolicyConfiguration": {
            "targetValue": 60, "scaleOutCooldown": 60, "scaleInCooldown": 300, "disableScaleIn": False,
            "predefinedMetricSpecification": {"predefinedMetricType": "ECSServiceAverageCPUUtilization"}}}),
        ("Policy", "stable-requests", {"targetTrackingScalingPolicyConfiguration": {
            "targetValue": 600, "scaleOutCooldown": 60, "scaleInCooldown": 300, "disableScaleIn": False,
            "predefinedMetricSpecification": {
                "predefinedMetricType": "ALBRequestCountPerTarget", "resourceLabel": "suffix/ingress/suffix/stable"}}}),
        ("MetricAlarm", "candidate-latency", {
            "metricName": "TargetResponseTime", "dimensions": CANDIDATE, "period": 60, "evaluationPeriods": 10,
            "datapointsToAlarm": 10, "comparisonOperator": "GreaterThanThreshold",
            "evaluateLowSampleCountPercentiles": "ignore"}),
        ("MetricAlarm", "candidate-unhealthy", {
            "metricName": "UnHealthyHostCount", "dimensions": CANDIDATE, "statistic": "Maximum", "threshold": 0,
            "evaluationPeriods": 5, "datapointsToAlarm": 5, "comparisonOperator": "GreaterThanThreshold"}),
        ("MetricAlarm", "alarms-silence", {
            "metricName": "RequestCount", "dimensions": BALANCER, "threshold": 1, "comparisonOperator": "LessThanThreshold"}),
        ("MetricAlarm", "controller-missed", {
            "dimensions": {"QueueName": "ontogra-api-svc-prod-controller-missed"}, "threshold": 0,
            "alarmActions": ["arn:alarms"]}),
        ("BucketServerSideEncryptionConfiguration", "ingress-logs", {
            "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]}),
        ("Queue", "controller-missed", {"sqsManagedSseEnabled": True}),
        ("TaskDefinition", "controller", {
            "executionRoleArn": "arn:controller-execution", "taskRoleArn": "arn:controller", "skipDestroy": True}),
        ("SecurityGroup", "controller", {
            "egress": [{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["0.0.0.0/0"]}]}),
    ],
)  # fmt: skip
def test_a_resource_is_as_the_documentation_says(all_on: Any, kind: str, name: str, expected: dict[str, Any]) -> None:
    made = all_on.of(kind)[name]

    assert {key: made[key] for key in expected} == expected
    assert kind != "SecurityGroup" or "ingress" not in made


def test_doors_are_open_to_the_internet_for_the_load_balancer_alone(all_on: Any) -> None:
    doors = {
        (name, rule["fromPort"], rule["toPort"])
        for name, group in all_on.of("SecurityGroup").items()
        for rule in group.get("ingress", [])
        if rule.get("cidrBlocks")
    }

    assert doors == {("ingress", 80, 80), ("ingress", 443, 443)}


@pytest.mark.parametrize(("task", "stop"), [("stable", 30), ("candidate", 30), ("controller", None)])
def test_no_container_owns_its_host_or_writes_to_its_image(all_on: Any, task: str, stop: int | None) -> None:
    container = all_on.container(task)

    assert (container["essential"], container["readonlyRootFilesystem"], container["user"]) == (True, True, "10001")
    assert container.get("stopTimeout") == stop
    assert container.get("linuxParameters") == ({"initProcessEnabled": True} if stop else None)
    assert "privileged" not in container


def test_the_schedule_starts_the_task_in_private_subnets(all_on: Any) -> None:
    target = all_on.of("Schedule")["controller"]["target"]

    assert target["ecsParameters"] == {
        "launchType": "FARGATE", "taskCount": 1, "taskDefinitionArn": "arn:controller",
        "networkConfiguration": {"subnets": PRIVATE, "securityGroups": ["controller-id"], "assignPublicIp": False},
    }  # fmt: skip
    assert target["retryPolicy"] == {"maximumRetryAttempts": 2, "maximumEventAgeInSeconds": 300}


def test_services_of_aws_use_what_is_ours_for_our_account_alone(all_on: Any) -> None:
    documents = [
        *(one["assumeRolePolicy"] for one in all_on.of("Role").values()),
        *(one["policy"] for kind in ("Key", "TopicPolicy", "BucketPolicy") for one in all_on.of(kind).values()),
    ]
    statements = [one for text in documents for one in json.loads(text)["Statement"]]
    services = [one for one in statements if "Service" in one["Principal"]]

    assert len(services) == 8
    for one in services:
        ((operator, bound),) = one["Condition"].items()
        assert (operator, bound) in (
            ("StringEquals", {"aws:SourceAccount": "123456789012"}),
            ("ArnLike", {"aws:SourceArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/*"}),
        )


def test_the_engine_is_told_what_is_not_ours_to_change_and_what_waits_for_what(all_on: Any, config: Config) -> None:
    ecs, ssm = "aws:ecs/service:Service", "aws:ssm/parameter:Parameter"
    listener = "aws:lb/listener:Listener/ingress"

    assert all_on.ignored[ecs, "stable"] == ["desiredCount"]
    assert evaluate(config()).ignored[ecs, "stable"] == []
    assert all_on.ignored["aws:ec2/subnet:Subnet", "network-private-0"] == ["availabilityZone"]
    assert {listener, f"{ssm}/settings"} <= all_on.after[ecs, "candidate"]
    assert {listener, f"{ecs}/stable", f"{ecs}/candidate"} <= all_on.after[ssm, "percent"]
    block = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock/ingress-logs"
    assert block in all_on.after["aws:s3/bucketPolicy:BucketPolicy", "ingress-logs"]


def test_permissions_name_what_aws_compares_them_with(all_on: Any) -> None:
    """Log groups are named in two ways, and a key that is being made has no tag yet."""
    statements = [
        statement
        for kind in ("Policy", "RolePolicy")
        for one in all_on.of(kind).values()
        if "policy" in one
        for statement in json.loads(one["policy"])["Statement"]
    ]

    def resources(action: str) -> set[str]:
        found = [
            one
            for one in statements
            if action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
        ]
        assert found, action
        return {
            name
            for one in found
            for name in ([one["Resource"]] if isinstance(one["Resource"], str) else one["Resource"])
        }

    logs = "arn:aws:logs:us-east-1:123456789012:log-group:"
    groups = {f"{logs}/ecs/ontogra-cluster/ontogra-api-svc", f"{logs}/ecs/ontogra-api-svc-prod/controller"}
    for action in ("ListTagsForResource", "TagResource", "UntagResource"):
        assert resources(f"logs:{action}") == groups
    for action in ("CreateLogGroup", "DeleteLogGroup", "PutRetentionPolicy"):
        assert resources(f"logs:{action}") == {f"{group}:*" for group in groups}
    assert resources("logs:DescribeLogGroups") == {f"{logs}*"}
    assert resources("cloudwatch:DescribeAlarms") == {"arn:aws:cloudwatch:us-east-1:123456789012:alarm:*"}
    tagging = [one["Condition"] for one in statements if "kms:TagResource" in one["Action"]]
    assert tagging == [
        {"StringEquals": {"aws:RequestTag/pilot-stack": "prod"}}, {"StringEquals": {"aws:ResourceTag/pilot-stack": "prod"}},
    ]  # fmt: skip


# ---------------------------------------------------------------- network


@pytest.mark.parametrize(("nat", "gateways"), [("one", 1), ("perZone", 3)])
def test_private_subnets_leave_by_one_nat_gateway_or_by_that_of_their_zone(
    evaluate: Evaluate, config: Config, nat: str, gateways: int
) -> None:
    made = evaluate(config(**{"pilot:network": {"zones": 3, "nat": nat, "cidr": "10.64.0.0/18"}}))

    tables = {name: one["routeTableId"] for name, one in made.of("RouteTableAssociation").items()}
    private = {name: table for name, table in tables.items() if "private" in name}
    assert (len(private), len(set(private.values())), len(made.of("NatGateway"))) == (3, gateways, gateways)
    assert {tables[f"network-public-{i}"] for i in range(3)} == {"network-public-id"}
    blocks = [one["cidrBlock"] for one in made.of("Subnet").values()]
    assert len(set(blocks)) == 6
    assert all(block.startswith("10.64.") for block in blocks)
    assert made.of("Service")["stable"]["networkConfiguration"]["assignPublicIp"] is False


# ---------------------------------------------------------------- ingress


def test_https_has_certificate_policy_redirect_and_private_encrypted_logs(evaluate: Evaluate, config: Config) -> None:
    made = evaluate(config(**{"pilot:ingress": {"certificateArn": CERTIFICATE, "accessLogDays": 30}}))

    listener = made.of("Listener")["ingress"]
    assert (listener["port"], listener["protocol"], listener["certificateArn"]) == (443, "HTTPS", CERTIFICATE)
    assert listener["sslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    (action,) = made.of("Listener")["ingress-redirect"]["defaultActions"]
    assert action["redirect"] == {"protocol": "HTTPS", "port": "443", "statusCode": "HTTP_301"}
    balancer = made.of("LoadBalancer")["ingress"]
    assert balancer["dropInvalidHeaderFields"] is True
    assert balancer["accessLogs"] == {"bucket": "api-staging-access-logs-123456789012", "enabled": True}
    block = made.of("BucketPublicAccessBlock")["ingress-logs"]
    assert [value for key, value in block.items() if key != "bucket"] == [True] * 4
    (rule,) = made.of("BucketLifecycleConfiguration")["ingress-logs"]["rules"]
    assert rule["expiration"] == {"days": 30}
    allow, deny = json.loads(made.of("BucketPolicy")["ingress-logs"]["policy"])["Statement"]
    assert allow["Principal"] == {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"}
    assert allow["Resource"].endswith("/AWSLogs/123456789012/*")
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


# ---------------------------------------------------------------- service


def test_the_container_is_hardened_and_told_its_secrets_by_reference(evaluate: Evaluate, config: Config) -> None:
    service = {
        "architecture": "ARM64", "writablePaths": ["/var/tmp"], "healthCommand": ["CMD", "/health"],
        "secrets": {"DB": f"{SECRET}:password::", "KEY": PARAMETER}, "drainSeconds": 20,
    }  # fmt: skip
    made = evaluate(config(service=service))

    container, task = made.container("stable"), made.of("TaskDefinition")["stable"]
    assert container["readonlyRootFilesystem"] is True
    assert container["user"] == "10001"
    assert container["healthCheck"]["command"] == ["CMD", "/health"]
    assert container["mountPoints"] == [{"sourceVolume": "var-tmp", "containerPath": "/var/tmp", "readOnly": False}]
    assert task["volumes"] == [{"name": "var-tmp"}]
    assert task["runtimePlatform"] == {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}
    assert container["secrets"] == [
        {"name": "DB", "valueFrom": f"{SECRET}:password::"}, {"name": "KEY", "valueFrom": PARAMETER},
    ]  # fmt: skip
    may = allowed(made, "execution")
    assert may["secretsmanager:GetSecretValue"] == [SECRET]
    assert may["ssm:GetParameters"] == [PARAMETER]
    assert made.of("TargetGroup")["stable"]["deregistrationDelay"] == 20
    assert made.of("Service")["stable"]["availabilityZoneRebalancing"] == "ENABLED"


def test_scaling_follows_cpu_and_requests_of_each_variant(
    evaluate: Evaluate, traffic: Callable[[int], dict[str, Any]]
) -> None:
    scaling = {"minTasks": 2, "maxTasks": 6, "cpuPercent": 50, "requestsPerMinute": 900}

    made = evaluate({**traffic(10), "pilot:scaling": scaling})

    targets = {one["resourceId"]: (one["minCapacity"], one["maxCapacity"]) for one in made.of("Target").values()}
    assert targets == {"service/shop/api": (2, 6), "service/shop/api-candidate": (2, 6)}
    policies = {
        name: one["targetTrackingScalingPolicyConfiguration"]["targetValue"]
        for name, one in made.of("Policy").items()
        if "policyType" in one
    }
    assert policies == {"stable-cpu": 50, "stable-requests": 900, "candidate-cpu": 50, "candidate-requests": 900}


def test_an_app_that_polls_is_told_by_a_parameter_that_its_role_may_read(evaluate: Evaluate, config: Config) -> None:
    rollout = {"flags": {"micPrompt": "native"}, "cohort": ["firm-a"]}

    ten, twenty = (
        evaluate(config(service={"delivery": "parameter"}, rollout={**rollout, "percent": percent}))
        for percent in (10, 20)
    )

    assert ten.environment("stable") == {"PILOT_SETTINGS_PARAMETER": "/pilot/shop/api/settings"}
    assert ten.of("TaskDefinition") == twenty.of("TaskDefinition")
    assert allowed(ten, "task") == {"ssm:GetParameter": ["arn:settings"]}
    settings = ten.of("Parameter")["settings"]["value"]
    assert json.loads(settings["value"] if isinstance(settings, dict) else settings) == {
        "cohort": ["firm-a"], "flags": {"micPrompt": "native"}, "intake": "open", "percent": 10,
    }  # fmt: skip


# ---------------------------------------------------------------- alarms


def test_alarms_tell_an_encrypted_topic_and_two_of_them_roll_back(evaluate: Evaluate, config: Config) -> None:
    alarms = {"emails": ["a@b.example"], "latencyP90": 1.5, "noTrafficMinutes": 7}

    made = evaluate(config(**{"pilot:alarms": alarms}))

    found = made.of("MetricAlarm")
    assert found.keys() == {"stable", "stable-latency", "stable-unhealthy", "alarms-silence"}
    assert all(one["alarmActions"] == ["arn:alarms"] for one in found.values())
    assert (found["stable-latency"]["extendedStatistic"], found["stable-latency"]["threshold"]) == ("p90", 1.5)
    missing = {name: one["treatMissingData"] for name, one in found.items()}
    assert missing == {
        "stable": "notBreaching", "stable-latency": "notBreaching", "stable-unhealthy": "notBreaching",
        "alarms-silence": "breaching",
    }  # fmt: skip
    assert found["alarms-silence"]["evaluationPeriods"] == 7
    assert made.of("Service")["stable"]["alarms"]["alarmNames"] == ["shop-api-5xx", "shop-api-latency"]
    assert made.of("Topic")["alarms"]["kmsMasterKeyId"] == "arn:alarms"
    assert made.of("Key")["alarms"]["enableKeyRotation"] is True


# ---------------------------------------------------------------- pipeline and controller


@pytest.mark.parametrize("repository", ["acme/shop", "acme@12/shop@345"])
def test_github_may_preview_from_pull_requests_and_the_branch_and_apply_from_branch_and_environment(
    evaluate: Evaluate, config: Config, repository: str
) -> None:
    """The names of repositories made since the middle of 2026 have ids in them."""
    made = evaluate(config(**{"pilot:pipeline": {**PIPELINE, "repository": repository}}))

    host = "token.actions.githubusercontent.com"
    assert trusted(made, "preview") == {
        "StringEquals": {
            f"{host}:aud": "sts.amazonaws.com",
            f"{host}:sub": [f"repo:{repository}:pull_request", f"repo:{repository}:ref:refs/heads/main"],
        },
    }
    assert trusted(made, "up") == {
        "StringEquals": {
            f"{host}:aud": "sts.amazonaws.com",
            f"{host}:sub": [f"repo:{repository}:environment:prod"],
            f"{host}:ref": "refs/heads/main",
        }
    }
    assert "preview" not in made.of("RolePolicy")
    reads = json.loads(made.of("Policy")["reads"]["policy"])["Statement"]
    verbs = {
        action.split(":")[1]
        for one in reads
        for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    }
    assert {verb for verb in verbs if not verb.startswith(("Describe", "Get", "List"))} == set()


def test_gitlab_applies_from_its_branch_alone(evaluate: Evaluate, config: Config) -> None:
    pipeline = {"forge": "gitlab", "repository": "acme/shop", "environment": "prod", "branch": "live"}

    made = evaluate(config(**{"pilot:pipeline": pipeline}))

    assert trusted(made, "up") == {
        "StringEquals": {
            "gitlab.com:aud": "https://gitlab.com",
            "gitlab.com:sub": ["project_path:acme/shop:ref_type:branch:ref:live"],
        }
    }
    assert trusted(made, "preview")["StringLike"]["gitlab.com:sub"][0] == "project_path:acme/shop:ref_type:branch:ref:*"


def test_a_provider_that_the_account_has_is_used_and_a_boundary_bounds_every_role(
    evaluate: Evaluate, config: Config
) -> None:
    boundary = "arn:aws:iam::123456789012:policy/boundary"
    given = {"providerArn": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
             "permissionsBoundaryArn": boundary}  # fmt: skip

    made = evaluate(config(**{"pilot:pipeline": {**PIPELINE, **given}, "pilot:controller": {"runs": "ci"}}))

    assert made.of("OpenIdConnectProvider") == {}
    assert {one["permissionsBoundary"] for one in made.of("Role").values()} == {boundary}
    statements = json.loads(made.of("RolePolicy")["up"]["policy"])["Statement"]
    (grants,) = [one for one in statements if one["Sid"] == "GrantToTheRoles"]
    assert grants["Condition"] == {"StringEquals": {"iam:PermissionsBoundary": boundary}}


def test_the_controller_in_ci_reads_from_the_branch_and_may_write_nothing(evaluate: Evaluate, config: Config) -> None:
    made = evaluate(config(**{"pilot:pipeline": PIPELINE, "pilot:controller": {"runs": "ci"}}))

    subjects = trusted(made, "controller")["StringEquals"]["token.actions.githubusercontent.com:sub"]
    assert subjects == ["repo:acme/shop:ref:refs/heads/main"]
    assert allowed(made, "controller").keys() == {
        "ecs:DescribeServices", "ecs:DescribeTaskDefinition", "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeTargetGroups", "ssm:GetParameter", "cloudwatch:DescribeAlarms",
    }  # fmt: skip
    assert made.of("Schedule") == {}


def test_the_controller_looks_at_the_stack_ahead_too(evaluate: Evaluate, config: Config) -> None:
    ahead = {"cluster": "stage", "name": "api"}
    made = evaluate(config(**{"pilot:pipeline": PIPELINE, "pilot:controller": {"runs": "ci", "ahead": ahead}}))

    seen = {
        action: [arn.split(":", 5)[5] for arn in allowed(made, "controller")[action]]
        for action in ("ecs:DescribeServices", "ssm:GetParameter")
    }
    assert seen == {
        "ecs:DescribeServices": ["service/shop/api", "service/stage/api", "service/stage/api-candidate"],
        "ssm:GetParameter": ["parameter/pilot/shop/api/*", "parameter/pilot/stage/api/*"],
    }


def test_the_controller_on_a_schedule_is_a_task_with_a_queue_for_what_did_not_start(
    evaluate: Evaluate, config: Config
) -> None:
    image = "registry.example/pilot@sha256:" + "e" * 64
    controller = {"runs": "schedule", "image": image, "everyMinutes": 7, "secrets": {"TOKEN": PARAMETER}}

    made = evaluate(config(**{"pilot:controller": controller}))

    schedule = made.of("Schedule")["controller"]
    assert schedule["scheduleExpression"] == "rate(7 minutes)"
    assert schedule["target"]["deadLetterConfig"] == {"arn": "arn:controller-missed"}
    container = made.container("controller")
    assert container["command"] == ["reconcile", "--stack", "staging"]
    assert container["secrets"] == [{"name": "TOKEN", "valueFrom": PARAMETER}]
    assert allowed(made, "controller-scheduler") == {
        "ecs:RunTask": ["arn:controller:*"],
        "iam:PassRole": ["arn:controller-execution", "arn:controller"],
        "sqs:SendMessage": ["arn:controller-missed"],
    }
    assert allowed(made, "controller-execution")["ssm:GetParameters"] == [PARAMETER]


def test_policies_have_room_for_the_longest_names(evaluate: Evaluate) -> None:
    """IAM allows 6,144 characters for a shared policy and 10,240 for all inline ones of a role."""
    config = copy.deepcopy(whole.everything(whole.shipped("prod")))
    config["pilot:service"] |= {"cluster": "c" * 40, "name": "s" * 22}

    made = evaluate(config, "prod")

    sizes = {name: len("".join(one["policy"].split())) for name, one in made.of("Policy").items() if "policy" in one}
    inline = {name: len("".join(one["policy"].split())) for name, one in made.of("RolePolicy").items()}
    assert sizes.keys() == {"reads", "entry", "operator"}
    assert max(sizes.values()) <= 6144
    assert max(inline.values()) <= 10240


def test_every_resource_has_the_default_tags(evaluate: Evaluate, config: Config) -> None:
    made = evaluate(config(**{"pilot:tags": {"owner": "platform"}}))

    provider = made.resources["pulumi:providers:aws", "aws"]
    tags = provider["defaultTags"]
    assert (json.loads(tags) if isinstance(tags, str) else tags)["tags"] == {
        "managed-by": "pulumi", "pilot-stack": "staging", "pilot-service": "api", "owner": "platform",
    }  # fmt: skip
    without = [
        key for key in made.resources if key[0].startswith("aws:") and not made.providers[key].startswith("urn:pulumi")
    ]
    assert without == []


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("section", "value", "said"),
    [
        ("pilot:netwrok", {"zones": 2}, "pilot:netwrok is not a known key; known are pilot:service, pilot:rollout"),
        ("pilot:network", {"zones": 4}, "pilot:network.zones is 4; it should be 2 or 3"),
        ("pilot:network", {"vpcId": "vpc-1"}, "pilot:network: publicSubnetIds, privateSubnetIds is missing"),
        ("pilot:network", {"cidr": "10.0.0.0/24"}, "pilot:network.cidr is '10.0.0.0/24'; it should be a block"),
        ("pilot:network", {"cidr": "8.8.0.0/16"}, "should be a block of private addresses"),
        ("pilot:ingress", {}, "pilot:ingress: certificateArn or insecureHttp: true, exactly one, but neither"),
        ("pilot:ingress", {"certificateArn": CERTIFICATE, "insecureHttp": True}, "exactly one, but both are there"),
        ("pilot:ingress", {"certificateArn": "cert"}, "pilot:ingress.certificateArn is 'cert'; it should match"),
        ("pilot:ingress", {"certificateArn": CERTIFICATE, "tlsPolicy": "ELBSecurityPolicy-2016-08"},
         "pilot:ingress.tlsPolicy is 'ELBSecurityPolicy-2016-08'; it should be 'ELBSecurityPolicy-TLS13"),
        ("pilot:scaling", {"minTasks": 3, "maxTasks": 2}, "pilot:scaling: maxTasks is 2; it should be at least"),
        ("pilot:scaling", {"minTasks": 3, "maxTask": 4}, "pilot:scaling.maxTask is not a known key; known are minTasks"),
        ("pilot:alarms", {"emails": ["ana"]}, "pilot:alarms.emails.0 is 'ana'; it should match"),
        ("pilot:pipeline", {**PIPELINE, "forge": "svn"}, "pilot:pipeline.forge is 'svn'; it should be 'github' or"),
        ("pilot:controller", {"runs": "schedule"}, "pilot:controller: image is missing; runs: schedule needs"),
        ("pilot:controller", {"runs": "schedule", "image": "a:b"}, "pilot:controller.image is 'a:b'; it should be an"),
        ("pilot:controller", {"runs": "ci"}, "pilot:controller.runs is 'ci'; that needs pilot:pipeline"),
        ("pilot:tags", {"aws:x": "y"}, "pilot:tags.aws:x"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_section_names_file_key_value_and_what_is_allowed(
    evaluate: Evaluate, config: Config, section: str, value: object, said: str
) -> None:
    with pytest.raises(pulumi.RunError) as raised:
        evaluate(config(**{section: value}))

    assert str(raised.value).startswith("Pulumi.staging.yaml: pilot:")
    assert said in str(raised.value)


def test_a_section_that_is_needed_says_how_to_write_it(evaluate: Evaluate, config: Config) -> None:
    broken = config()
    del broken["pilot:ingress"]

    with pytest.raises(pulumi.RunError, match="pilot:ingress is missing; add it with certificateArn, or with insecure"):
        evaluate(broken)


def test_a_secret_in_the_clear_is_refused_and_not_repeated(evaluate: Evaluate, config: Config) -> None:
    with pytest.raises(pulumi.RunError) as raised:
        evaluate(config(service={"secrets": {"DB": "hunter2"}}))

    assert "pilot:service.secrets: DB is not the ARN of a Secrets Manager secret" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_mistakes_that_only_show_together_are_all_said(evaluate: Evaluate, config: Config) -> None:
    with pytest.raises(pulumi.RunError) as raised:
        evaluate(config(rollout={"exposure": "traffic"}, **{"pilot:controller": {"runs": "ci"}}))

    assert [line.split(" is ")[0] for line in str(raised.value).splitlines()] == [
        "Pulumi.staging.yaml: pilot:service.candidateImage", "Pulumi.staging.yaml: pilot:controller.runs",
    ]  # fmt: skip
