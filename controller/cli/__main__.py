"""`python -m controller.cli` is `pilot`."""

from controller.cli import main

main()
