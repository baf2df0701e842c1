"""The data card of a corpus: one page that says where, when, of what and how well."""
