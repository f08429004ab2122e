"""Buckets, and the parts of one that Pulumi keeps as resources of their own."""

from __future__ import annotations

import json
import re
from typing import Any

from controller.rehearsal.localcloud.kinds.base import Found, Kind, one_of, within
from controller.rehearsal.localcloud.kinds.iam import policy, same_document
from controller.rehearsal.localcloud.shapes import UNKNOWN, BadInputError, Bag

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class Bucket(Kind):
    token = "aws:s3/bucket:Bucket"
    creates = ("s3", "CreateBucket")
    replaced_by = frozenset({"bucket"})

    def request(self, inputs: Bag) -> Bag:
        return {"bucket": inputs.get("bucket")}

    def rules(self, inputs: Bag) -> None:
        name = inputs.get("bucket")
        if isinstance(name, str) and name != UNKNOWN and not _NAME.fullmatch(name):
            raise BadInputError(f"bucket is {name!r}; it should be 3 to 63 lower-case letters, digits, '-' and '.'")

    def create(self, inputs: Bag) -> str:
        request = self.request(inputs)
        region = self.aws.client("s3").meta.region_name
        if region != "us-east-1":
            request["createBucketConfiguration"] = {"locationConstraint": region}
        self.aws.call("s3", "CreateBucket", request)
        return str(inputs["bucket"])

    def find(self, id_: str, state: Bag) -> Found | None:
        names = [one["Name"] for one in self.aws.call("s3", "ListBuckets", {})["Buckets"]]
        return Found({"bucket": id_}, {"arn": f"arn:aws:s3:::{id_}"}) if id_ in names else None

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("s3", "DeleteBucket", {"bucket": id_})


class _Part(Kind):
    """A part of a bucket: `gets`, `deletes` name the calls, and `part` where the answer holds it."""

    replaced_by = frozenset({"bucket"})
    computed = ()
    gets: str
    deletes: str
    part: str

    def create(self, inputs: Bag) -> str:
        self.created(inputs)
        return str(inputs["bucket"])

    def update(self, id_: str, old: Bag, new: Bag) -> None:
        self.created(new)

    def find(self, id_: str, state: Bag) -> Found | None:
        found = self.aws.find("s3", self.gets, {"bucket": id_})
        return None if not found else Found({"bucket": id_, **self.seen(found[self.part], state)}, {})

    def seen(self, part: Any, state: Bag) -> Bag:
        return dict(part)

    def delete(self, id_: str, state: Bag) -> None:
        self.aws.call("s3", self.deletes, {"bucket": id_})


class PublicAccessBlock(_Part):
    token = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    creates = ("s3", "PutPublicAccessBlock")
    gets, deletes, part = "GetPublicAccessBlock", "DeletePublicAccessBlock", "PublicAccessBlockConfiguration"

    def request(self, inputs: Bag) -> Bag:
        settings = {key: value for key, value in inputs.items() if key != "bucket"}
        return {"bucket": inputs.get("bucket"), "publicAccessBlockConfiguration": settings}


class Encryption(_Part):
    token = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    creates = ("s3", "PutBucketEncryption")
    gets, deletes, part = "GetBucketEncryption", "DeleteBucketEncryption", "ServerSideEncryptionConfiguration"

    def request(self, inputs: Bag) -> Bag:
        rules = inputs.get("rules")
        return {"bucket": inputs.get("bucket"), "serverSideEncryptionConfiguration": {"rules": rules}}


class Lifecycle(_Part):
    token = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    creates = ("s3", "PutBucketLifecycleConfiguration")
    gets, deletes, part = "GetBucketLifecycleConfiguration", "DeleteBucketLifecycle", "Rules"

    def request(self, inputs: Bag) -> Bag:
        return {"bucket": inputs.get("bucket"), "lifecycleConfiguration": {"rules": inputs.get("rules")}}

    def rules(self, inputs: Bag) -> None:
        for rule in inputs.get("rules") or []:
            one_of("rules.status", rule.get("status"), ("Enabled", "Disabled"))
            within("rules.expiration.days", (rule.get("expiration") or {}).get("days"), 1, 2147483647)

    def seen(self, part: Any, state: Bag) -> Bag:
        return {"rules": part}


class BucketPolicy(_Part):
    token = "aws:s3/bucketPolicy:BucketPolicy"
    creates = ("s3", "PutBucketPolicy")
    gets, deletes, part = "GetBucketPolicy", "DeleteBucketPolicy", "Policy"

    def request(self, inputs: Bag) -> Bag:
        return {"bucket": inputs.get("bucket"), "policy": inputs.get("policy")}

    def rules(self, inputs: Bag) -> None:
        policy("policy", inputs.get("policy"))

    def references(self, inputs: Bag) -> None:
        """Refuse a policy for resources outside of the bucket, as S3 does (MalformedPolicy)."""
        bucket = f"arn:aws:s3:::{inputs['bucket']}"
        for statement in json.loads(inputs["policy"])["Statement"]:
            named = statement["Resource"]
            for arn in [named] if isinstance(named, str) else named:
                if arn != bucket and not arn.startswith(f"{bucket}/"):
                    raise BadInputError(f"policy names {arn}, which is not of the bucket {inputs['bucket']}")

    def seen(self, part: Any, state: Bag) -> Bag:
        return {"policy": same_document(state.get("policy"), json.loads(part))}


KINDS: tuple[type[Kind], ...] = (Bucket, PublicAccessBlock, Encryption, Lifecycle, BucketPolicy)
