"""Subcommands of `rlu`, a module a subject; each imports what it needs when it runs."""
