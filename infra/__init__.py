"""The Pulumi program of a stack: an ECS service behind a load balancer, at its percent."""
