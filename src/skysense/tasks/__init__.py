"""Learning with labels: the seven tasks of the paper, ways to adapt a model to them, what they are judged by."""
