"""From public archives to samples: where to look, what to fetch, how to bring it onto one grid."""
