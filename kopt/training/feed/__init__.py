"""What an epoch is made of: where data live, and chunks of steps over them."""
