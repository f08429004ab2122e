"""What the controller asks of AWS, and the little that it does there."""
