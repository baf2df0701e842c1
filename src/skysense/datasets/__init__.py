"""Published benchmark data sets: what they are, whether a folder is one, and how it is read."""
