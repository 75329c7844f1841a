"""What a person reads after a run: summaries, tables, pages."""
