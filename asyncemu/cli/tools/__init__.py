# SPDX-License-Identifier: GPL-2.0-or-later
"""What the three tools share: ``img``, ``io`` and ``nbd``, which take the command lines of qemu-img, qemu-io, qemu-nbd.

    startup.py         the process: late_modules.py, output.py     runner.py     a coroutine from start to exit status
    getopt_long.py     options as getopt_long(3) finds them         sizes.py      numbers with k, M, G, T, P, E
    option_strings.py  ``a=b,c=d``, as QEMU's -o takes it           objects.py    ``--object``
    cache_modes.py     ``-t none`` and so on                        opening.py    from an argument to an open image
    failure.py         what ends a tool, and errors in QEMU's words report.py     lines on stderr
    version.py         which release of QEMU's tools they are like  progress.py   ``-p`` and SIGUSR1

Nothing here is imported before it is needed: a tool is to answer within a tenth of a second.
"""
