"""Several label maps per case: tasks, stacks and joint labels, and what nnU-Net needs to work with them."""
