"""
Where commits and pull requests live: the git protocol on every forge, and one module a product.
"""
