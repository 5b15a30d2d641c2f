"""What is done with one batch: the training and the evaluation step, clips, and update hooks."""
