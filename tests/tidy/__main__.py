"""`make check` runs this, in the folder tests: `python -m tidy`.  Every rule about the source tree, and the marked steps."""

import sys

from . import atomic
from .rules import RULES

problems = [problem for rule in RULES for problem in rule()]
print("\n".join(problems) if problems else f"tidy: {len(RULES)} rules kept")
sys.exit(atomic.main([]) or bool(problems))
