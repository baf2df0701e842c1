"""Tables that compare methods: same places, same protocol, intervals over places."""
