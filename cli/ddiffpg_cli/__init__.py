"""The command line tool ``ddiffpg``: puts the rooms together, and loads of them only what a subcommand needs."""
