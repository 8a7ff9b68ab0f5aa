"""``python -m enqueued_cli`` is ``enqueued``."""

from __future__ import annotations

from enqueued_cli.main import main

if __name__ == "__main__":
    main()
