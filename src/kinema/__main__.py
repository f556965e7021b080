"""``python -m kinema``: the same command as ``kinema``."""

from __future__ import annotations

import sys

from kinema.cli.main import main

sys.exit(main())
