# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-net: a network card (virtio 1.2, 5.1).

features.py         feature bits, and which ones go with which options, peers and other bits
header.py           the header of each frame
receive_filter.py   which frames the guest wants
receiver.py         frames into the guest's buffers
transmitter.py      frames out of them
queue_pair.py       the port that a pair of queues is
control.py          what the driver says on the control queue
device.py           all of them together
"""

from asyncemu.virtio.net.config import NetConfig
from asyncemu.virtio.net.device import VirtioNet
from asyncemu.virtio.net.options import NetOptions

__all__ = ["NetConfig", "NetOptions", "VirtioNet"]
