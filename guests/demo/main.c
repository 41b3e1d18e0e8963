// SPDX-License-Identifier: GPL-2.0-or-later
//
// A tour of a machine without an operating system: it says where it runs, finds its devices, talks through a
// virtio-console, tests a virtio-blk disk, measures the timer, and turns the power off.
#include <stdarg.h>

#include "virtio.h"

enum { TICKS = 10, TICK_MS = 10 };

uint64_t ticks_per_second = 10000000;  // the board's, until the device tree is read

uint64_t microseconds_x10(uint64_t ticks) {
    return ticks * 10000000 / ticks_per_second;
}

_Noreturn void fail(const char *format, ...) {
    static bool is_failing;
    if (is_failing)
        sbi_power_off(true);
    is_failing = true;
    console_panic();
    va_list arguments;
    va_start(arguments, format);
    print("\nFAIL: ");
    print_arguments(format, arguments);
    print("\n");
    sbi_power_off(true);
}

static void sort(uint32_t *values, size_t count) {
    for (size_t i = 1; i < count; i++) {
        uint32_t value = values[i];
        size_t j = i;
        for (; j > 0 && values[j - 1] > value; j--)
            values[j] = values[j - 1];
        values[j] = value;
    }
}

void print_spread(const char *what, uint32_t *ticks, size_t count) {
    sort(ticks, count);
    uint64_t min = microseconds_x10(ticks[0]);
    uint64_t median = microseconds_x10(ticks[count / 2]);
    uint64_t max = microseconds_x10(ticks[count - 1]);
    print("%s min %lu.%lu, median %lu.%lu, max %lu.%lu us\n", what, min / 10, min % 10, median / 10, median % 10,
          max / 10, max % 10);
}

static void banner(uint64_t hart) {
    // SBI specification, "SBI Implementation IDs"; asyncemu has no number there and says "aemu".
    static const char *const implementations[] = {"BBL", "OpenSBI", "Xvisor", "KVM", "RustSBI", "Diosix"};
    uint64_t spec = sbi_spec_version(), implementation = sbi_implementation();
    struct memory memory = fdt_memory();
    bool is_known = implementation < sizeof implementations / sizeof *implementations;
    const char *name = is_known                       ? implementations[implementation]
                       : implementation == 0x61656d75 ? "asyncemu"
                                                      : "not in our list";
    print("\nHello from hart %lu: a bare-metal RISC-V program in supervisor mode.\n", hart);
    print("  firmware: SBI %lu.%lu, implementation %lu (%s), version 0x%lx\n", spec >> 24 & 0x7f, spec & 0xffffff,
          implementation, name, sbi_implementation_version());
    print("  memory: %lu MiB at 0x%lx; clock: %lu kHz\n", memory.size >> 20, memory.base, ticks_per_second / 1000);
}

static void list_devices(void) {
    static const char *const names[] = {"", "network card", "block device", "console", "entropy source"};
    unsigned count = 0;
    print("\nDevices in the virtio slots\n");
    for (unsigned slot = 0; slot < VIRTIO_SLOTS; slot++) {
        uint32_t device;
        enum slot_state state = virtio_probe(slot, &device);
        if (state == SLOT_EMPTY)
            continue;
        count++;
        print("  slot %u: %s (device number %u), interrupt %u%s\n", slot,
              device < sizeof names / sizeof *names ? names[device] : "another device", device,
              virtio_interrupt_source(slot),
              state == SLOT_LEGACY ? "; legacy, not used (QEMU: -global virtio-mmio.force-legacy=false)" : "");
    }
    if (count == 0)
        print("  none\n");
}

static void timer_test(void) {
    static uint32_t lateness[TICKS];
    uint64_t period = ticks_per_second * TICK_MS / 1000;
    uint64_t due = now();
    for (unsigned i = 0; i < TICKS; i++) {
        due += period;
        if (now() >= due)
            due = now() + period;  // the machine was held up for longer than a tick: begin anew
        timer_arm(due);
        while (timer_fired_at == 0)
            sleep_until_interrupt();
        if (timer_fired_at < due)
            fail("the timer came %lu ticks of its clock too early", due - timer_fired_at);
        lateness[i] = timer_fired_at - due;
    }
    print("\nTimer: %u sleeps of %u ms\n", (unsigned)TICKS, (unsigned)TICK_MS);
    print_spread("  woken late by", lateness, TICKS);
}

_Noreturn void main(uint64_t hart, const void *device_tree);
_Noreturn void main(uint64_t hart, const void *device_tree) {
    if (!fdt_open(device_tree))
        fail("no device tree at 0x%lx", (uint64_t)(uintptr_t)device_tree);
    ticks_per_second = fdt_timebase_frequency();
    struct memory memory = fdt_memory();
    if (ticks_per_second == 0 || memory.size == 0)
        fail("the device tree does not tell the clock's frequency and the memory's size");
    if (!sbi_has(SBI_TIME) || !sbi_has(SBI_RESET))
        fail("the firmware lacks the SBI extensions TIME and SRST");
    interrupts_init(hart);
    bool has_console = console_init();  // first of all, so that everything is said at one place

    banner(hart);
    list_devices();
    print("\nConsole: %s\n", has_console ? "this text comes through a virtqueue of the virtio-console"
                                          : "no virtio-console; this text comes through the firmware");
    print("\nDisk\n");
    block_test();
    timer_test();
    print("\nAll is well. Powering off.\n");
    sbi_power_off(false);
}
