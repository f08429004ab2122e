"""A whole rollout on a virtual clock: simulated users and AWS around the loop that runs in production."""
