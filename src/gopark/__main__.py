"""``python -m gopark``: the same as the command ``gopark``."""

import sys

from gopark.cli import main

sys.exit(main())
