"""What `pulumi preview` and `pulumi up` refuse: a Pulumi policy pack that reads the same `rollout.yaml`."""
