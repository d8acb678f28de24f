"""What is compressed: layers, channel groups, and the bundled architectures (one file each)."""

from compress_gym.networks.network import ChannelGroup, Layer, Network, Segment

__all__ = ["ChannelGroup", "Layer", "Network", "Segment"]
