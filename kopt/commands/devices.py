"""The command `kopt devices`."""

from kopt.values import parts


def devices(devices: str = "auto") -> None:
    """List the devices, and print which of them a recipe would train on.

    Args:
        devices: The `devices` of a recipe.
    """
    for device in parts.needed("tensorflow").config.list_logical_devices():
        print(device.name)
    chosen = parts.needed("kopt.distribute").choose(devices)
    strategy = chosen.strategy
    print(f"{devices} -> {chosen.reason}: {type(strategy).__name__}, {strategy.num_replicas_in_sync} replicas")
