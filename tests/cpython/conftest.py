"""What pytest is not to collect: modules for child.py."""

collect_ignore = ["left_out"]
