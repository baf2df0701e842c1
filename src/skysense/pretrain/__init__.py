"""Learning without labels: views, teacher, granularities, alignment, prototypes, and one explicit loop."""
