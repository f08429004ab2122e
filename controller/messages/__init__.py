"""Every sentence for people, and everything that a forge is told, as pure functions of values."""
