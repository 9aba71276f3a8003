"""``python -m e2lm`` is the ``e2lm`` command."""

from e2lm.command_line import main

raise SystemExit(main())
