"""Other people's files: bitext, tagged text and names, read and judged."""
