"""The data of an epoch: where they live, their order, and chunks of steps over them."""
