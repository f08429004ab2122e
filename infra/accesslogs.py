"""Where a load balancer writes down its requests."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.permissions import allow_service, document


@dataclass(frozen=True, kw_only=True)
class AccessLogsArgs:
    """`bucket_name` is unique in all of AWS; logs older than `days` are deleted."""

    bucket_name: pulumi.Input[str]
    days: int
    region: str
    account: pulumi.Input[str]


class AccessLogs(pulumi.ComponentResource):
    """
    A private bucket for a load balancer's access logs, which only Elastic Load Balancing may write to.

    It is encrypted with keys of S3, since load balancers write with no others:
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html. It outlives a
    `pulumi destroy` as long as there are logs in it.
    """

    bucket: pulumi.Output[str]

    def __init__(self, name: str, args: AccessLogsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pilot:aws:AccessLogs", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(name, bucket=args.bucket_name, opts=child)
        private = aws.s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        by_default = aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
            sse_algorithm="AES256"
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=bucket.bucket,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=by_default
                )
            ],
            opts=child,
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            bucket=bucket.bucket,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="expire",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=args.days),
                )
            ],
            opts=child,
        )
        policy = aws.s3.BucketPolicy(
            name,
            bucket=bucket.bucket,
            policy=_policy(bucket.arn, args),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[private]),
        )
        # A load balancer is refused a bucket that it cannot write to yet.
        self.bucket = pulumi.Output.all(bucket.bucket, policy.id).apply(lambda both: str(both[0]))
        self.register_outputs({"bucket": self.bucket})


def _policy(arn: pulumi.Output[str], args: AccessLogsArgs) -> pulumi.Output[str]:
    ours = pulumi.Output.concat("arn:aws:elasticloadbalancing:", args.region, ":", args.account, ":loadbalancer/*")
    return document(
        allow_service(
            "write the access logs",
            "logdelivery.elasticloadbalancing.amazonaws.com",
            "s3:PutObject",
            pulumi.Output.concat(arn, "/AWSLogs/", args.account, "/*"),
            {"ArnLike": {"aws:SourceArn": ours}},
        ),
        {
            "Sid": "RefuseWhatIsNotEncryptedInTransit",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, pulumi.Output.concat(arn, "/*")],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    )
