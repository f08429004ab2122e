"""Say what the program registers as CloudFormation would, so that cfn-lint can judge it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Bag = dict[str, Any]
Said = list[tuple[str, Bag]]  # CloudFormation's type and its properties


def said(token: str, inputs: Bag) -> Said:
    """Return the CloudFormation resources of one of Pulumi's; a type that is not known here is an error."""
    return _TYPES[token](inputs)


def pascal(value: Any) -> Any:
    match value:
        case dict():
            return {key[0].upper() + key[1:]: pascal(item) for key, item in value.items()}
        case list():
            return [pascal(item) for item in value]
    return value


def _as(kind: str, **renamed: str) -> Callable[[Bag], Said]:
    """Translate by writing keys in Pascal case; `renamed` are those that CloudFormation calls otherwise, "" for none."""

    def translate(inputs: Bag) -> Said:
        named = {renamed.get(key, key): value for key, value in inputs.items()}
        return [(kind, pascal({key: value for key, value in named.items() if key}))]

    return translate


def _document(text: str) -> Any:
    return json.loads(text)


def _gateway(inputs: Bag) -> Said:
    attached = {"VpcId": inputs["vpcId"], "InternetGatewayId": "igw-0123456789abcdef0"}
    return [("AWS::EC2::InternetGateway", {}), ("AWS::EC2::VPCGatewayAttachment", attached)]


def _routes(inputs: Bag) -> Said:
    routes = [
        ("AWS::EC2::Route", {
            "RouteTableId": "rtb-0123456789abcdef0", "DestinationCidrBlock": route["cidrBlock"],
            **pascal({key: value for key, value in route.items() if key != "cidrBlock"}),
        })
        for route in inputs["routes"]
    ]  # fmt: skip
    return [("AWS::EC2::RouteTable", {"VpcId": inputs["vpcId"]}), *routes]


def _security_group(inputs: Bag) -> Said:
    def ports(rule: Bag) -> Bag:
        """Every protocol has every port, which Terraform writes as 0 to 0 and CloudFormation not at all."""
        return {} if rule["protocol"] == "-1" else {"FromPort": rule["fromPort"], "ToPort": rule["toPort"]}

    def rules(side: str, group: str) -> list[Bag]:
        return [
            {"IpProtocol": rule["protocol"], **ports(rule), **peer}
            for rule in inputs.get(side, [])
            for peer in (
                [{"CidrIp": cidr} for cidr in rule.get("cidrBlocks", [])]
                + [{group: one} for one in rule.get("securityGroups", [])]
            )
        ]

    properties = {
        "GroupName": inputs["name"],
        "GroupDescription": inputs["description"],
        "VpcId": inputs["vpcId"],
        "SecurityGroupIngress": rules("ingress", "SourceSecurityGroupId"),
        "SecurityGroupEgress": rules("egress", "DestinationSecurityGroupId"),
    }
    return [("AWS::EC2::SecurityGroup", properties)]


def _attributes(pairs: Bag) -> list[Bag]:
    return [{"Key": key, "Value": str(value).lower()} for key, value in pairs.items()]


def _balancer(inputs: Bag) -> Said:
    attributes = {"routing.http.drop_invalid_header_fields.enabled": inputs["dropInvalidHeaderFields"]}
    if logs := inputs.get("accessLogs"):
        attributes |= {"access_logs.s3.enabled": logs["enabled"], "access_logs.s3.bucket": logs["bucket"]}
    properties = {
        **pascal({key: inputs[key] for key in ("name", "subnets", "securityGroups")}),
        "Type": inputs["loadBalancerType"],
        "Scheme": "internal" if inputs["internal"] else "internet-facing",
        "LoadBalancerAttributes": _attributes(attributes),
    }
    return [("AWS::ElasticLoadBalancingV2::LoadBalancer", properties)]


def _target_group(inputs: Bag) -> Said:
    check = inputs["healthCheck"]
    properties = {
        **pascal({key: inputs[key] for key in ("name", "port", "protocol", "targetType", "vpcId")}),
        "HealthCheckPath": check["path"],
        "HealthCheckIntervalSeconds": check["interval"],
        "HealthCheckTimeoutSeconds": check["timeout"],
        "HealthyThresholdCount": check["healthyThreshold"],
        "UnhealthyThresholdCount": check["unhealthyThreshold"],
        "Matcher": {"HttpCode": check["matcher"]},
        "TargetGroupAttributes": _attributes({"deregistration_delay.timeout_seconds": inputs["deregistrationDelay"]}),
    }
    return [("AWS::ElasticLoadBalancingV2::TargetGroup", properties)]


def _listener(inputs: Bag) -> Said:
    actions = []
    for action in inputs["defaultActions"]:
        said_action: Bag = {"Type": action["type"]}
        if redirect := action.get("redirect"):
            said_action["RedirectConfig"] = pascal(redirect)
        if forward := action.get("forward"):
            groups = [{"TargetGroupArn": one["arn"], "Weight": one["weight"]} for one in forward["targetGroups"]]
            said_action["ForwardConfig"] = {"TargetGroups": groups}
            if sticky := forward.get("stickiness"):
                said_action["ForwardConfig"]["TargetGroupStickinessConfig"] = {
                    "Enabled": sticky["enabled"], "DurationSeconds": sticky["duration"]}  # fmt: skip
        actions.append(said_action)
    properties = {
        **pascal({key: inputs[key] for key in ("loadBalancerArn", "port", "protocol")}),
        "DefaultActions": actions,
    }
    if certificate := inputs.get("certificateArn"):
        properties |= {"Certificates": [{"CertificateArn": certificate}], "SslPolicy": inputs["sslPolicy"]}
    return [("AWS::ElasticLoadBalancingV2::Listener", properties)]


def _task(inputs: Bag) -> Said:
    containers = []
    for container in json.loads(inputs["containerDefinitions"]):
        options = container["logConfiguration"].pop("options")
        containers.append(pascal(container))
        containers[-1]["LogConfiguration"]["Options"] = options
    plain = {key: value for key, value in inputs.items() if key not in ("containerDefinitions", "skipDestroy")}
    return [("AWS::ECS::TaskDefinition", {**pascal(plain), "ContainerDefinitions": containers})]


def _service(inputs: Bag) -> Said:
    renamed = {"name": "ServiceName", "deploymentMinimumHealthyPercent": "", "deploymentMaximumPercent": ""}
    own = ("alarms", "deploymentCircuitBreaker", "networkConfiguration")
    ((kind, properties),) = _as("AWS::ECS::Service", **renamed)({k: v for k, v in inputs.items() if k not in own})
    network = inputs["networkConfiguration"]
    public = "ENABLED" if network["assignPublicIp"] else "DISABLED"
    properties["NetworkConfiguration"] = {"AwsvpcConfiguration": {**pascal(network), "AssignPublicIp": public}}
    properties["DeploymentConfiguration"] = {
        "MinimumHealthyPercent": inputs["deploymentMinimumHealthyPercent"],
        "MaximumPercent": inputs["deploymentMaximumPercent"],
        "Alarms": pascal(inputs["alarms"]),
        "DeploymentCircuitBreaker": pascal(inputs["deploymentCircuitBreaker"]),
    }
    return [(kind, properties)]


def _role(inputs: Bag) -> Said:
    properties = {"RoleName": inputs["name"], "AssumeRolePolicyDocument": _document(inputs["assumeRolePolicy"])}
    if boundary := inputs.get("permissionsBoundary"):
        properties["PermissionsBoundary"] = boundary
    return [("AWS::IAM::Role", properties)]


def _role_policy(inputs: Bag) -> Said:
    document = _document(inputs["policy"])
    return [("AWS::IAM::Policy", {"PolicyName": inputs["name"], "Roles": [inputs["role"]], "PolicyDocument": document})]


def _managed_policy(inputs: Bag) -> Said:
    named = {"ManagedPolicyName": inputs["name"], "PolicyDocument": _document(inputs["policy"])}
    return [("AWS::IAM::ManagedPolicy", named)]


def _alarm(inputs: Bag) -> Said:
    def dimensions(of: Bag) -> list[Bag]:
        return [{"Name": name, "Value": value} for name, value in of.items()]

    renamed = {"name": "AlarmName", "okActions": "OKActions", "metricQueries": "", "dimensions": "",
               "evaluateLowSampleCountPercentiles": "EvaluateLowSampleCountPercentile"}  # fmt: skip
    ((kind, properties),) = _as("AWS::CloudWatch::Alarm", **renamed)(inputs)
    if "dimensions" in inputs:
        properties["Dimensions"] = dimensions(inputs["dimensions"])
    if queries := inputs.get("metricQueries"):
        properties["Metrics"] = metrics = []
        for query in queries:
            metric = query.pop("metric", None)
            metrics.append(pascal(query))
            if metric:
                whose = {"Namespace": metric["namespace"], "MetricName": metric["metricName"],
                         "Dimensions": dimensions(metric["dimensions"])}  # fmt: skip
                metrics[-1]["MetricStat"] = {"Metric": whose, "Period": metric["period"], "Stat": metric["stat"]}
    return [(kind, properties)]


def _bucket_part(name: str, settings: Callable[[Bag], Any]) -> Callable[[Bag], Said]:
    return lambda inputs: [("AWS::S3::Bucket", {"BucketName": inputs["bucket"], name: settings(inputs)})]


def _encryption(inputs: Bag) -> Bag:
    rules = [
        {"ServerSideEncryptionByDefault": {"SSEAlgorithm": rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"]}}
        for rule in inputs["rules"]
    ]
    return {"ServerSideEncryptionConfiguration": rules}


def _lifecycle(inputs: Bag) -> Bag:
    rules = [
        {"Id": rule["id"], "Status": rule["status"], "Prefix": rule["filter"]["prefix"],
         "ExpirationInDays": rule["expiration"]["days"]}
        for rule in inputs["rules"]
    ]  # fmt: skip
    return {"Rules": rules}


def _schedule(inputs: Bag) -> Said:
    ecs = dict(inputs["target"]["ecsParameters"])
    network = ecs.pop("networkConfiguration")
    public = "ENABLED" if network["assignPublicIp"] else "DISABLED"
    ((kind, properties),) = _as("AWS::Scheduler::Schedule")(
        {**inputs, "target": {**inputs["target"], "ecsParameters": ecs}}
    )
    aws_vpc = {"AwsvpcConfiguration": {**pascal(network), "AssignPublicIp": public}}
    properties["Target"]["EcsParameters"]["NetworkConfiguration"] = aws_vpc
    return [(kind, properties)]


def _with_policy(kind: str, name: str, **renamed: str) -> Callable[[Bag], Said]:
    def translate(inputs: Bag) -> Said:
        ((_, properties),) = _as(kind, policy="", **renamed)(inputs)
        return [(kind, {**properties, name: _document(inputs["policy"])})]

    return translate


def _topic_policy(inputs: Bag) -> Said:
    return [("AWS::SNS::TopicPolicy", {"Topics": [inputs["arn"]], "PolicyDocument": _document(inputs["policy"])})]


_TYPES: dict[str, Callable[[Bag], Said]] = {
    "aws:appautoscaling/policy:Policy": _as("AWS::ApplicationAutoScaling::ScalingPolicy", name="PolicyName"),
    "aws:appautoscaling/target:Target": _as("AWS::ApplicationAutoScaling::ScalableTarget"),
    "aws:cloudwatch/logGroup:LogGroup": _as("AWS::Logs::LogGroup", name="LogGroupName"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _alarm,
    "aws:ec2/eip:Eip": _as("AWS::EC2::EIP"),
    "aws:ec2/internetGateway:InternetGateway": _gateway,
    "aws:ec2/natGateway:NatGateway": _as("AWS::EC2::NatGateway"),
    "aws:ec2/routeTable:RouteTable": _routes,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": _as("AWS::EC2::SubnetRouteTableAssociation"),
    "aws:ec2/securityGroup:SecurityGroup": _security_group,
    "aws:ec2/subnet:Subnet": _as("AWS::EC2::Subnet"),
    "aws:ec2/vpc:Vpc": _as("AWS::EC2::VPC"),
    "aws:ecs/cluster:Cluster": _as("AWS::ECS::Cluster", name="ClusterName", settings="ClusterSettings"),
    "aws:ecs/service:Service": _service,
    "aws:ecs/taskDefinition:TaskDefinition": _task,
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": _as("AWS::IAM::OIDCProvider", clientIdLists="ClientIdList"),
    "aws:iam/policy:Policy": _managed_policy,
    "aws:iam/role:Role": _role,
    "aws:iam/rolePolicy:RolePolicy": _role_policy,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": lambda _inputs: [],  # a property of the role there
    "aws:kms/key:Key": _with_policy("AWS::KMS::Key", "KeyPolicy", deletionWindowInDays="PendingWindowInDays"),
    "aws:lb/listener:Listener": _listener,
    "aws:lb/loadBalancer:LoadBalancer": _balancer,
    "aws:lb/targetGroup:TargetGroup": _target_group,
    "aws:s3/bucket:Bucket": _as("AWS::S3::Bucket", bucket="BucketName"),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _bucket_part(
        "LifecycleConfiguration", _lifecycle
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _with_policy("AWS::S3::BucketPolicy", "PolicyDocument"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _bucket_part(
        "PublicAccessBlockConfiguration", lambda inputs: pascal({k: v for k, v in inputs.items() if k != "bucket"})
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _bucket_part(
        "BucketEncryption", _encryption
    ),
    "aws:scheduler/schedule:Schedule": _schedule,
    "aws:sns/topic:Topic": _as("AWS::SNS::Topic", name="TopicName"),
    "aws:sns/topicPolicy:TopicPolicy": _topic_policy,
    "aws:sns/topicSubscription:TopicSubscription": _as("AWS::SNS::Subscription", topic="TopicArn"),
    "aws:sqs/queue:Queue": _as(
        "AWS::SQS::Queue", name="QueueName", messageRetentionSeconds="MessageRetentionPeriod"
    ),
    "aws:ssm/parameter:Parameter": _as("AWS::SSM::Parameter", overwrite=""),
}  # fmt: skip
