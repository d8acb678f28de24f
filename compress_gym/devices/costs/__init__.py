"""From a network, its decisions and a device to cost terms."""
