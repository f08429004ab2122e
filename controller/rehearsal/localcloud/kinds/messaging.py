"""Who is told: topics with their key, queues, and what EventBridge Scheduler starts."""

from __future__ import annotations

import json
import re
from typing import Any

from controller.rehearsal.localcloud.kinds.base import Found, Kind, only, within, without
from controller.rehearsal.localcloud.kinds.iam import policy, same_document
from controller.rehearsal.localcloud.shapes import UNKNOWN, BadInputError, Bag

_RATE = re.compile(r"rate\((1 (minute|hour|day)|(?!1 )[1-9]\d* (minutes|hours|days))\)|(cron|at)\(.+\)")


class Key(Kind):
    token = "aws:kms/key:Key"
    creates = ("kms", "CreateKey")

    def request(self, inputs: Bag) -> Bag:
        return only(inputs, "description", "policy")

    def rules(self, inputs: Bag) -> None:
        policy("policy", inputs.get("policy"))
        within("deletionWindowInDays", inputs.get("deletionWindowInDays"), 7, 30)

    def create(self, inputs: Bag) -> str:
        id_ = str(self.created(inputs)["KeyMetadata"]["KeyId"])
        if inputs.get("enableKeyRotation"):
            self.aws.call("kms", "EnableKeyRotation", {"keyId": id_})
        return id_

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.aws.call("kms", "PutKeyPolicy", {"keyId": id_, "policyName": "default", "policy": new["policy"]})
        self.aws.call("kms", "UpdateKeyDescription", {"keyId": id_, "description": new["description"]})

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("kms", "DescribeKey", {"keyId": id_})
        if not found or found["KeyMetadata"]["KeyState"] == "PendingDeletion":
            return None
        text = self.aws.call("kms", "GetKeyPolicy", {"keyId": id_, "policyName": "default"})["Policy"]
        rotates = self.aws.call("kms", "GetKeyRotationStatus", {"keyId": id_})["KeyRotationEnabled"]
        described = {
            "description": found["KeyMetadata"]["Description"],
            "policy": same_document(state.get("policy"), json.loads(text)),
            "enableKeyRotation": rotates,
        }
        return Found(described, {"arn": found["KeyMetadata"]["Arn"]})

    def delete(self, id_: str, state: Bag) -> None:
        days = {"keyId": id_, "pendingWindowInDays": state.get("deletionWindowInDays", 30)}
        self.aws.call("kms", "ScheduleKeyDeletion", days)


class Topic(Kind):
    token = "aws:sns/topic:Topic"
    creates = ("sns", "CreateTopic")
    replaced_by = frozenset({"name"})

    def request(self, inputs: Bag) -> Bag:
        key = inputs.get("kmsMasterKeyId")
        return {"name": inputs.get("name"), "attributes": {"KmsMasterKeyId": key} if key else {}}

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["TopicArn"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        key = {"attributeName": "KmsMasterKeyId", "attributeValue": new.get("kmsMasterKeyId", "")}
        self.aws.call("sns", "SetTopicAttributes", {"topicArn": id_, **key})

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("sns", "GetTopicAttributes", {"topicArn": id_})
        if not found:
            return None
        named = {"name": id_.rsplit(":", 1)[-1], "kmsMasterKeyId": found["Attributes"].get("KmsMasterKeyId")}
        return Found(named, {"arn": id_})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("sns", "DeleteTopic", {"topicArn": id_})


class TopicPolicy(Kind):
    token = "aws:sns/topicPolicy:TopicPolicy"
    creates = ("sns", "SetTopicAttributes")
    replaced_by = frozenset({"arn"})
    computed = ()

    def request(self, inputs: Bag) -> Bag:
        return {"topicArn": inputs.get("arn"), "attributeName": "Policy", "attributeValue": inputs.get("policy")}

    def rules(self, inputs: Bag) -> None:
        policy("policy", inputs.get("policy"))

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        return str(inputs["arn"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.created(new)

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("sns", "GetTopicAttributes", {"topicArn": id_})
        if not found:
            return None
        live = json.loads(found["Attributes"]["Policy"])
        return Found({"policy": same_document(state.get("policy"), live)}, {})

    def delete(self, id_: str, state: Bag) -> None:
        """Nothing: AWS keeps a policy on every topic, and the topic goes next."""


class TopicSubscription(Kind):
    token = "aws:sns/topicSubscription:TopicSubscription"
    creates = ("sns", "Subscribe")
    always_replaced = True

    def request(self, inputs: Bag) -> Bag:
        return {"topicArn": inputs.get("topic"), **only(inputs, "protocol", "endpoint")}

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["SubscriptionArn"])

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("sns", "GetSubscriptionAttributes", {"subscriptionArn": id_})
        if not found:
            return None
        seen = {key.lower(): value for key, value in found["Attributes"].items() if key in ("Protocol", "Endpoint")}
        return Found({"topic": found["Attributes"]["TopicArn"], **seen}, {"arn": id_})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("sns", "Unsubscribe", {"subscriptionArn": id_})


class Queue(Kind):
    token = "aws:sqs/queue:Queue"
    creates = ("sqs", "CreateQueue")
    replaced_by = frozenset({"name"})
    computed = ("arn", "url")

    def request(self, inputs: Bag) -> Bag:
        return {"queueName": inputs.get("name"), "attributes": self._attributes(inputs)}

    def _attributes(self, inputs: Bag) -> Bag:
        return {
            "SqsManagedSseEnabled": "true" if inputs.get("sqsManagedSseEnabled") else "false",
            "MessageRetentionPeriod": str(inputs.get("messageRetentionSeconds", 345600)),
        }

    def rules(self, inputs: Bag) -> None:
        within("messageRetentionSeconds", inputs.get("messageRetentionSeconds"), 60, 1209600)

    def create(self, inputs: Bag) -> str:
        return str(self.created(inputs)["QueueUrl"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.aws.call("sqs", "SetQueueAttributes", {"queueUrl": id_, "attributes": self._attributes(new)})

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("sqs", "GetQueueAttributes", {"queueUrl": id_, "attributeNames": ["All"]})
        if not found:
            return None
        attributes = found["Attributes"]
        described = {
            "name": attributes["QueueArn"].rsplit(":", 1)[-1],
            "messageRetentionSeconds": int(attributes["MessageRetentionPeriod"]),
        }
        return Found(described, {"arn": attributes["QueueArn"], "url": id_})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("sqs", "DeleteQueue", {"queueUrl": id_})


class Schedule(Kind):
    token = "aws:scheduler/schedule:Schedule"
    creates = ("scheduler", "CreateSchedule")
    replaced_by = frozenset({"name", "groupName"})

    def request(self, inputs: Bag) -> Bag:
        target = inputs.get("target") or {}
        ecs = dict(target.get("ecsParameters") or {})
        if network := ecs.get("networkConfiguration"):
            ecs["networkConfiguration"] = {"awsvpcConfiguration": network}
        return {**without(inputs, "target"), "target": {**without(target, "ecsParameters"), "ecsParameters": ecs}}

    def rules(self, inputs: Bag) -> None:
        expression = inputs.get("scheduleExpression")
        if isinstance(expression, str) and expression != UNKNOWN and not _RATE.fullmatch(expression):
            raise BadInputError(f"scheduleExpression is {expression!r}; it should be like rate(5 minutes)")
        retry = (inputs.get("target") or {}).get("retryPolicy") or {}
        within("target.retryPolicy.maximumRetryAttempts", retry.get("maximumRetryAttempts"), 0, 185)
        within("target.retryPolicy.maximumEventAgeInSeconds", retry.get("maximumEventAgeInSeconds"), 60, 86400)

    def references(self, inputs: Bag) -> None:
        """Refuse a role that Scheduler may not assume, and what is to be run or told but is not there."""
        target = inputs["target"]
        role = self.aws.find("iam", "GetRole", {"roleName": target["roleArn"].rsplit("/", 1)[-1]})
        if not role or "scheduler.amazonaws.com" not in json.dumps(role["Role"]["AssumeRolePolicyDocument"]):
            raise BadInputError(f"target.roleArn is {target['roleArn']}; EventBridge Scheduler may not assume it")
        queue = (target.get("deadLetterConfig") or {}).get("arn")
        if queue and not self.aws.find("sqs", "GetQueueUrl", {"queueName": queue.rsplit(":", 1)[-1]}):
            raise BadInputError(f"target.deadLetterConfig.arn is {queue}; there is no such queue")
        if ecs := target.get("ecsParameters"):
            self.aws.call("ecs", "DescribeTaskDefinition", {"taskDefinition": ecs["taskDefinitionArn"]})
            network = ecs.get("networkConfiguration") or {}
            self.network(network.get("subnets") or [], network.get("securityGroups") or [])

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        return f"default/{inputs['name']}"

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.references(new)
        self.aws.call("scheduler", "UpdateSchedule", self.request(new))

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("scheduler", "GetSchedule", {"name": id_.split("/")[1]})
        if not found:
            return None
        target: Any = dict(found["Target"])
        ecs = dict(target.get("EcsParameters") or {})
        ecs["NetworkConfiguration"] = (ecs.get("NetworkConfiguration") or {}).get("awsvpcConfiguration", {})
        return Found({**found, "Target": {**target, "EcsParameters": ecs}}, {"arn": found["Arn"]})

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("scheduler", "DeleteSchedule", {"name": id_.split("/")[1]})


KINDS: tuple[type[Kind], ...] = (Key, Topic, TopicPolicy, TopicSubscription, Queue, Schedule)
