"""Each session of init, booted by QEMU: the reference machine that this guest must work on."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.net_server import NetServer
from guests import disk, fetch, programs

QEMU = "qemu-system-riscv64"
pytestmark = [
    pytest.mark.guest,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed"),
]
PROMPT = b"guest:/mnt# "
TIMEOUT = 100  # seconds for a boot that takes three on an idle machine


class Machine:
    """QEMU with the guest's kernel and initrd and a copy of its disk; output goes through the UART or hvc0."""

    def __init__(self, directory: Path) -> None:
        self.guest = fetch.ensure()
        self.disk = directory / "disk.img"
        shutil.copyfile(self.guest.disk, self.disk)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, append: str, *options: str) -> subprocess.Popen[bytes]:
        console = ["-serial", "stdio"]
        if "console=hvc0" in append:
            console = ["-serial", "null", "-chardev", "stdio,id=hvc", "-device", "virtio-serial-device"]
            console += ["-device", "virtconsole,chardev=hvc"]
        command = [QEMU, "-M", "virt", "-m", "256M", "-display", "none", "-monitor", "none", *console]
        command += ["-kernel", str(self.guest.image), "-initrd", str(self.guest.initrd), "-append", append]
        command += ["-global", "virtio-mmio.force-legacy=false", "-device", "virtio-rng-device"]
        command += ["-drive", f"file={self.disk},if=none,format=raw,id=d0", "-device", "virtio-blk-device,drive=d0"]
        command += options
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return self.process

    def run(self, append: str, *commands: str, options: Sequence[str] = ()) -> str:
        """All output until the machine powers itself off; each command is typed at the next shell prompt."""
        process = self.start(append, *options)
        assert process.stdin is not None
        assert process.stdout is not None
        output = bytearray()
        for command in commands:
            start = len(output)
            while PROMPT not in output[start:]:  # what is typed earlier, the guest's line editor drops
                chunk: bytes = process.stdout.read1()  # type: ignore[attr-defined]
                assert chunk, f"the machine ended before it asked for {command!r}"
                output += chunk
            process.stdin.write(f"{command}\n".encode())
            process.stdin.flush()
        output += process.communicate(timeout=TIMEOUT)[0]
        return output.decode(errors="replace").replace("\r\n", "\n")

    def run_until(self, append: str, line: bytes) -> None:
        """Kill the machine (SIGKILL) as soon as it has printed the line."""
        process = self.start(append)
        assert process.stdout is not None
        assert any(text.rstrip() == line for text in process.stdout)
        process.kill()
        process.wait()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    if machine.process is not None:
        machine.process.kill()
        machine.process.communicate()
    machine.disk.unlink()  # pytest keeps the directories of three runs


@pytest.mark.parametrize("console", ["console=ttyS0", "console=hvc0"])
def test_session_poweroff_prints_one_line(machine: Machine, console: str) -> None:
    output = machine.run(f"{console} quiet session=poweroff")

    assert re.findall(r"asyncemu: \w*", output) == ["asyncemu: userspace"]


@pytest.mark.parametrize("console", ["console=ttyS0", "console=hvc0"])
def test_session_demo_writes_and_reads_the_disk(machine: Machine, console: str) -> None:
    output = machine.run(f"{console} quiet session=demo")

    assert "FAILED" not in output
    assert re.search(
        r"^asyncemu: userspace\n"
        r"demo: mounted /dev/vda on /mnt\n"
        r"This is asyncemu's demo disk.*\n"
        r"demo: wrote (.+)\n"
        r"demo: read back \1\n"
        r"demo: up [0-9.]+ s\n"
        r"demo: Linux asyncemu .* riscv64 GNU/Linux\n"
        r"demo: 16 bytes of /dev/hwrng: [0-9a-f]{32}\n"
        r"demo: done\n",
        output,
        re.MULTILINE,
    )


@pytest.mark.parametrize("console", ["console=ttyS0", "console=hvc0"])
def test_session_shell_runs_commands_and_powers_off(machine: Machine, console: str) -> None:
    output = machine.run(f"{console} quiet", "echo $((6*7))x", "cat /mnt/README", "exit")

    assert "/dev/vda is mounted on /mnt." in output
    assert "\n42x\n" in output
    assert "\nThis is asyncemu's demo disk" in output


def test_session_sha256_is_that_of_the_file(machine: Machine) -> None:
    expected = hashlib.sha256(machine.disk.read_bytes()).hexdigest()

    assert f"\nsha256 {expected}\n" in machine.run("console=ttyS0 quiet session=sha256")


def test_session_flushwrite_is_in_the_file_after_a_kill(machine: Machine) -> None:
    machine.run_until("console=ttyS0 quiet session=flushwrite", b"flushed")

    assert machine.disk.read_bytes()[: 1 << 20] == b"asyncemu-flush!\n" * 65536
    assert machine.disk.stat().st_size == disk.SIZE


def test_session_idle_says_so(machine: Machine) -> None:
    machine.run_until("console=ttyS0 quiet session=idle", b"idle")


@pytest.mark.skipif(not programs.have_compiler(), reason=f"{programs.COMPILER} is not installed")
def test_session_blockbench_prints_its_figures(machine: Machine) -> None:
    output = machine.run("console=ttyS0 quiet session=blockbench")

    assert re.search(r"^blockbench: reads=2000 median_ns=\d+ p99_ns=\d+ mean_ns=\d+$", output, re.MULTILINE)


@pytest.mark.skipif(not programs.have_compiler(), reason=f"{programs.COMPILER} is not installed")
def test_session_blockbench_qd32_reads_both_disks(machine: Machine) -> None:
    # Read-only and shared: the same image may be two disks.
    drive = f"file={machine.disk},if=none,format=raw,id=d1,readonly=on,file.locking=off"
    options = ["-drive", drive, "-device", "virtio-blk-device,drive=d1"]

    output = machine.run("console=ttyS0 quiet session=blockbench-qd32", options=options)

    assert re.search(
        r"^blockbench: reading\nblockbench: queued_reads=\d+ median_ns=\d+ p99_ns=\d+ mean_ns=\d+$",
        output,
        re.MULTILINE,
    )


@pytest.mark.skipif(not programs.have_compiler(), reason=f"{programs.COMPILER} is not installed")
def test_session_blockbench_qd32_with_one_disk_fails(machine: Machine) -> None:
    output = machine.run("console=ttyS0 quiet session=blockbench-qd32")

    assert "blockbench-qd32: FAILED: no /dev/vdb" in output


@pytest.mark.skipif(not programs.have_compiler(), reason=f"{programs.COMPILER} is not installed")
def test_blockbench_wrong_usage_says_how(machine: Machine) -> None:
    wrong = ["", "0 /dev/vda", "65 /dev/vda", "x /dev/vda", "-1 /dev/vda", "1" + 9 * " /dev/vda"]
    commands = [f"blockbench {arguments}; echo status=$?" for arguments in wrong]

    output = machine.run("console=ttyS0 quiet", *commands, "exit")

    assert output.count("\nblockbench: usage: blockbench DEVICE, or blockbench DEPTH DEVICE...\n") == len(wrong)
    assert output.count("\nstatus=2\n") == len(wrong)


def test_session_unknown_lists_those_known(machine: Machine) -> None:
    output = machine.run("console=ttyS0 quiet session=demos")

    assert "demos: FAILED: no such session; known: demo shell poweroff" in output


def test_modules_word_loads_a_further_group(machine: Machine) -> None:
    output = machine.run("console=ttyS0 quiet modules=net", "grep -c ^virtio_net /proc/modules", "exit")

    assert "\n1\n" in output


CARD = ("-netdev", "user,id=n0", "-device", "virtio-net-device,netdev=n0")


@pytest.mark.parametrize("how", ["dhcp", "10.0.2.15/24,10.0.2.2"])
def test_net_brings_eth0_up_with_an_address_and_a_route(machine: Machine, how: str) -> None:
    output = machine.run(f"console=ttyS0 quiet net={how}", "ip route", "ping -q -c 1 10.0.2.2", "exit", options=CARD)

    assert "shell: eth0 is up\n" in output
    assert re.search(r"^default via 10\.0\.2\.2 dev eth0", output, re.MULTILINE)
    assert "1 packets transmitted, 1 packets received" in output


def test_net_dhcp_writes_resolv_conf(machine: Machine) -> None:
    output = machine.run("console=ttyS0 quiet net=dhcp", "cat /etc/resolv.conf", "exit", options=CARD)

    assert "nameserver 10.0.2.3\n" in output


@pytest.mark.skipif(not programs.have_compiler(), reason=f"{programs.COMPILER} is not installed")
def test_session_netbench_runs_each_mode(machine: Machine) -> None:
    runs = "tcp-send:100001,tcp-receive:100001,tcp-rr:5,udp-rr:5,connect:5,concurrent:5"
    with NetServer() as server:
        words = f"net=dhcp session=netbench server=10.0.2.2:{server.port} runs={runs}"
        output = machine.run(f"console=ttyS0 quiet {words}", options=CARD)

    said = re.findall(r"^netbench: (\S+) count=(\d+) failed=0 total_ns=\d+ median_ns=\d+ p99_ns=\d+$", output, re.M)
    assert ",".join(map(":".join, said)) == runs


@pytest.mark.skipif(not programs.have_compiler(), reason=f"{programs.COMPILER} is not installed")
def test_netbench_wrong_usage_says_how(machine: Machine) -> None:
    wrong = ["", "tcp-rr 10.0.2.2 80 0", "tcp-rr 10.0.2 80 1", "tcp-rr 10.0.2.256 80 1", "tcp-rr 10.0.2.2 70000 1"]
    wrong += ["unknown 10.0.2.2 80 1", "concurrent 10.0.2.2 80 4001"]
    commands = [f"netbench {arguments}; echo status=$?" for arguments in wrong]

    output = machine.run("console=ttyS0 quiet", *commands, "exit")

    assert output.count("\nnetbench: usage: netbench tcp-send|") == output.count("\nstatus=2\n") == len(wrong)


def test_net_without_a_card_says_so_and_goes_on(machine: Machine) -> None:
    output = machine.run("console=ttyS0 quiet net=dhcp session=demo")

    assert "demo: cannot bring eth0 up\n" in output
    assert "demo: done\n" in output
