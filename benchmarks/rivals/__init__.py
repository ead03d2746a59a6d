"""What the package is measured against: written as people write it, and not slow on purpose."""
