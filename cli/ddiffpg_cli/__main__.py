"""``python -m ddiffpg_cli`` is ``ddiffpg``."""

import sys

from ddiffpg_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
