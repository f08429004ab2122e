"""
Decide and propose the next stage of an ECS rollout whose state lives in Git.

A pass reads what is declared, what is live and what the events say, decides once, and opens at most one
pull request per stack. See docs/guide.md for the words and docs/adr/ for the reasons.
"""
