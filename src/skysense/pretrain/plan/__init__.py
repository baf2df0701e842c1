"""What a pre-training run costs, in closed form: nothing is run.

`costs` has the parts of the model, `heads` the objective, `step` puts a step together, `parameters` counts, `gpus` and
`places` are what is assumed, and `budget` makes a `Plan` of it all.
"""
