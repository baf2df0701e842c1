"""What training loops share: schedules, optimiser groups, moving averages, checkpoints."""
