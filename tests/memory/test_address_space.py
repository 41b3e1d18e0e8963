# SPDX-License-Identifier: GPL-2.0-or-later
"""AddressSpace: what lies where, and that no address and no length reaches past RAM."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncemu.errors import GuestError
from asyncemu.memory import AddressSpace, GuestRam, MmioRegion, RamRegion

PAGE = 4096
LOW, LOW_SIZE = 0x8000_0000, 4 * PAGE
HIGH, HIGH_SIZE = 0x1_0000_0000, 2 * PAGE
MMIO, MMIO_SIZE = 0x1000_0000, 0x100

#: Every RAM of the map below, as (first address, bytes).
RAMS = [(LOW, LOW_SIZE), (HIGH, HIGH_SIZE)]


class Registers:
    def mmio_read(self, offset: int, size: int) -> int:
        return 0

    def mmio_write(self, offset: int, size: int, value: int) -> None: ...


def make_space() -> AddressSpace:
    """Two RAMs and a device, added in no particular order."""
    space = AddressSpace()
    space.add_ram(HIGH, GuestRam(HIGH_SIZE), "high")
    space.add_mmio(MMIO, MMIO_SIZE, Registers(), "uart")
    space.add_ram(LOW, GuestRam(LOW_SIZE), "low")
    return space


@pytest.fixture
def space() -> AddressSpace:
    return make_space()


#: Made once: the properties below only look.
SHARED = make_space()

edges = st.sampled_from([base + where for base, size in RAMS for where in (0, size)])
numbers = st.one_of(
    st.integers(),
    st.integers(-(1 << 70), 1 << 70),
    st.builds(lambda edge, delta: edge + delta, edges, st.integers(-5000, 5000)),
)


def view_length(address: int, length: int) -> int | None:
    """The length of the view, None when there is none."""
    try:
        return len(SHARED.view(address, length))
    except GuestError:
        return None


def lies_in_ram(address: int, length: int) -> bool:
    return length > 0 and any(base <= address and address + length <= base + size for base, size in RAMS)


# ---- views


@given(numbers, st.one_of(numbers, st.integers(-10, 5 * PAGE)).filter(bool))
@example(LOW, LOW_SIZE)
@example(LOW, LOW_SIZE + 1)
@example(LOW - 1, 1)
@example(LOW + LOW_SIZE - 1, 2)
@example(LOW, -1)
@example(-1, 1)
@example((1 << 64) - 1, 2)
@example(HIGH + HIGH_SIZE, -HIGH_SIZE)
def test_view_any_address_and_length_is_in_ram_or_a_guest_error(address: int, length: int) -> None:
    assert view_length(address, length) == (length if lies_in_ram(address, length) else None)


@given(numbers)
def test_view_of_no_bytes_never_has_any(address: int) -> None:
    assert view_length(address, 0) in (0, None)


def test_view_outside_says_what_was_asked_for(space: AddressSpace) -> None:
    with pytest.raises(GuestError) as raised:
        space.view(LOW + LOW_SIZE - 4, 8)

    assert str(raised.value) == "8 bytes at 0x80003ffc are not in guest RAM"


@given(st.data())
def test_view_in_ram_is_exactly_those_bytes(data: st.DataObject) -> None:
    base, size = data.draw(st.sampled_from(RAMS))
    offset = data.draw(st.integers(0, size - 1))
    length = data.draw(st.integers(1, size - offset))
    space = make_space()

    space.view(base + offset, length)[:] = b"\xff" * length

    region = space.find(base)
    assert isinstance(region, RamRegion)
    assert region.ram.view.tobytes() == bytes(offset) + b"\xff" * length + bytes(size - offset - length)


def test_view_of_registers_is_a_guest_error(space: AddressSpace) -> None:
    with pytest.raises(GuestError, match="4 bytes at 0x10000000 are not in guest RAM"):
        space.view(MMIO, 4)


def test_view_over_two_rams_side_by_side_is_a_guest_error() -> None:
    space = AddressSpace()
    space.add_ram(0, GuestRam(PAGE))
    space.add_ram(PAGE, GuestRam(PAGE))

    with pytest.raises(GuestError):
        space.view(PAGE - 1, 2)


def test_view_without_ram_is_a_guest_error() -> None:
    with pytest.raises(GuestError):
        AddressSpace().view(0, 1)


@pytest.mark.parametrize(("base", "size"), RAMS)
def test_read_gives_back_what_write_wrote(space: AddressSpace, base: int, size: int) -> None:
    space.write(base + size - 4, b"last")

    assert space.read(base + size - 4, 4) == b"last"


@pytest.mark.parametrize("data", [b"abcd", bytearray(b"abcd"), memoryview(b"abcd")])
def test_write_takes_any_bytes(space: AddressSpace, data: bytes | bytearray | memoryview) -> None:
    space.write(LOW, data)

    assert space.read(LOW, 4) == b"abcd"


def test_buffers_are_views_of_the_ranges_in_order(space: AddressSpace) -> None:
    space.write(LOW, b"one")
    space.write(HIGH, b"two")

    buffers = space.buffers([(HIGH, 3), (LOW, 3)])
    space.write(LOW, b"ONE")

    assert buffers.tobytes() == b"twoONE"


def test_buffers_one_range_outside_is_a_guest_error(space: AddressSpace) -> None:
    with pytest.raises(GuestError):
        space.buffers([(LOW, 3), (LOW + LOW_SIZE, 1)])


# ---- listeners


def test_write_tells_every_listener_after_the_bytes_are_there(space: AddressSpace) -> None:
    told: list[tuple[int, int, bytes]] = []
    for _ in range(2):
        space.on_write(lambda address, length: told.append((address, length, space.read(address, length))))

    space.write(LOW + 8, b"data")

    assert told == [(LOW + 8, 4, b"data")] * 2


def test_write_outside_tells_nobody(space: AddressSpace) -> None:
    told: list[tuple[int, int]] = []
    space.on_write(lambda address, length: told.append((address, length)))

    with pytest.raises(GuestError):
        space.write(LOW + LOW_SIZE - 1, b"ab")

    assert told == []


def test_written_tells_what_a_view_s_user_says(space: AddressSpace) -> None:
    told: list[tuple[int, int]] = []
    space.on_write(lambda address, length: told.append((address, length)))

    space.view(LOW, 2)[:] = b"ab"
    before = list(told)
    space.written(LOW, 2)

    assert (before, told) == ([], [(LOW, 2)])


# ---- the map


@given(numbers)
def test_find_any_address_is_the_region_around_it(address: int) -> None:
    region = SHARED.find(address)
    around = [each for each in SHARED.regions if each.base <= address < each.base + each.size]

    assert region == next(iter(around), None)


@pytest.mark.parametrize(
    ("address", "name"), [(MMIO, "uart"), (MMIO + MMIO_SIZE - 1, "uart"), (LOW, "low"), (HIGH + HIGH_SIZE - 1, "high")]
)
def test_find_first_and_last_byte(space: AddressSpace, address: int, name: str) -> None:
    region = space.find(address)

    assert region is not None
    assert region.name == name


def test_regions_are_in_the_order_of_addresses(space: AddressSpace) -> None:
    assert [region.name for region in space.regions] == ["uart", "low", "high"]


def test_add_mmio_gives_the_region_with_its_handler() -> None:
    handler = Registers()

    assert AddressSpace().add_mmio(0, 8, handler, "device") == MmioRegion(0, 8, handler, "device")


@pytest.mark.parametrize(
    ("base", "size"),
    [
        (MMIO, MMIO_SIZE),
        (MMIO, 1),
        (MMIO + MMIO_SIZE - 1, 1),
        (MMIO - 1, 2),
        (MMIO - 1, MMIO_SIZE + 2),
        (MMIO + 1, MMIO_SIZE - 2),
        (0, 1 << 64),
    ],
)
def test_add_overlapping_is_an_error_that_names_both(space: AddressSpace, base: int, size: int) -> None:
    before = space.regions

    with pytest.raises(ValueError, match=r"new at .* overlaps uart at 0x10000000\+0x100"):
        space.add_mmio(base, size, Registers(), "new")

    assert space.regions == before


def test_add_ram_overlapping_registers_is_an_error(space: AddressSpace) -> None:
    with pytest.raises(ValueError, match=r"more at 0xffff000\+0x2000 overlaps uart at 0x10000000\+0x100"):
        space.add_ram(MMIO - PAGE, GuestRam(2 * PAGE), "more")


@pytest.mark.parametrize("base", [MMIO - 8, MMIO + MMIO_SIZE, LOW - 8, LOW + LOW_SIZE])
def test_add_side_by_side_is_allowed(space: AddressSpace, base: int) -> None:
    region = space.add_mmio(base, 8, Registers(), "new")

    assert space.find(base + 7) is region


@pytest.mark.parametrize(("base", "size"), [(0, 0), (0, -1), (-8, 16)])
def test_add_no_region_is_an_error(base: int, size: int) -> None:
    with pytest.raises(ValueError, match="is no region"):
        AddressSpace().add_mmio(base, size, Registers(), "new")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=12))
def test_add_any_regions_those_accepted_never_overlap(wanted: list[tuple[int, int]]) -> None:
    space = AddressSpace()
    taken: set[int] = set()
    refused, expected = [], []
    for base, size in wanted:
        addresses = set(range(base, base + size))
        expected.append(bool(taken & addresses))
        try:
            space.add_mmio(base, size, Registers(), "device")
            taken |= addresses
            refused.append(False)
        except ValueError:
            refused.append(True)

    assert refused == expected
    assert {address for address in range(80) if space.find(address)} == taken
