# SPDX-License-Identifier: GPL-2.0-or-later
"""--list, asking servers that we did not write: the same lines as qemu-nbd's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.nbd.conftest import Server, Servers, qemu_nbd, refused

SEVERAL = """\
case "$1" in
    list_exports) printf 'INTERLEAVED\\none\\nfirst of them\\ntwo\\nthe other\\n' ;;
    open) echo "$3" ;;
    get_size) if [ "$2" = one ]; then echo 1048576; else echo 3000; fi ;;
    pread) dd if=/dev/zero count=$3 iflag=count_bytes 2>/dev/null ;;
    can_write|can_trim) exit 0 ;;
    *) exit 2 ;;
esac
"""

SERVERS = [
    ("memory", "1M"),
    ("--readonly", "memory", "1M"),
    ("-o", "memory", "1M"),
    ("--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4096"),
]


@pytest.mark.parametrize("words", SERVERS, ids=[" ".join(words) for words in SERVERS])
def test_list_of_nbdkit_as_qemu_nbd(servers: Servers, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    path = servers.directory / "socket"
    server = Server(servers.process("nbdkit", "-f", "-U", str(path), *words), path)
    server.wait_until_it_listens()
    given = ("-L", "-k", str(path))
    ours = refused(monkeypatch, *given)
    assert ours == qemu_nbd(*given)
    assert ours.status == 0


def test_list_of_several_exports_as_qemu_nbd(servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "exports.sh"
    script.write_text("#!/bin/sh\n" + SEVERAL)
    script.chmod(0o755)
    path = tmp_path / "socket"
    server = Server(servers.process("nbdkit", "-f", "-U", str(path), "sh", str(script)), path)
    server.wait_until_it_listens()
    given = ("-L", "-k", str(path))
    ours = refused(monkeypatch, *given)
    assert ours.output.startswith("exports available: 2\n export: 'one'\n  description: first of them\n")
    assert ours == qemu_nbd(*given)


def test_list_of_what_is_no_nbd_server_as_qemu_nbd(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    program = (
        "import socket, sys\n"
        "listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen(5)\n"
        "for answer in (b'SSH-2.0-server, and more\\n', b'NBDMAGICgarbage!', b'NBDMAGIC', b'') * 2:\n"
        "    client = listener.accept()[0]; client.sendall(answer); client.close()\n"
    )
    server = Server(servers.process("python3", "-c", program, str(path)), path)
    server.wait_until_it_listens()
    given = ("-L", "-k", str(path))
    ours = [refused(monkeypatch, *given) for _ in range(4)]
    assert ours == [qemu_nbd(*given) for _ in range(4)]
