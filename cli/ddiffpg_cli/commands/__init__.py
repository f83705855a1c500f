"""The subcommands, one file a family. Each has ``HELP``, ``configure(name, parser)`` and ``run(args) -> exit code``,
and imports nothing beyond the standard library until it runs."""
