"""What parameters choose from: activations, init schemes, structures, optimizers, losses, tasks."""
