# SPDX-License-Identifier: GPL-2.0-or-later
"""The qcow2 format: driver.py is the driver, image.py says what its parts are."""
