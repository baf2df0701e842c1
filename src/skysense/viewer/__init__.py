"""A local page on which a person looks at maps: `server` answers, `page/` is what the browser gets."""
