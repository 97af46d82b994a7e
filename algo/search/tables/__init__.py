"""Policy tables: accuracy and cost of every policy, built, kept and scored."""
