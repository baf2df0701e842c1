"""From the archives to samples: where to look, what they have of it, and how it becomes one place."""
