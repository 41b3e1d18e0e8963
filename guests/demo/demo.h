// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the files of the demo share: control registers, memory barriers, and each file's public functions.
//
// How the program is built up:
//   start.S    entry point and trap entry
//   sbi.c      calls into the firmware below us: console, timer, power-off
//   fdt.c      reads the device tree that describes the machine
//   trap.c     interrupts: the PLIC, the timer, and sleeping until one of them happens
//   virtio.c   the transport and the queues that all virtio devices have in common
//   console.c  printf, on a virtio-console or on the firmware's console
//   block.c    the disk test
//   main.c     the story line
#ifndef DEMO_H
#define DEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// RISC-V privileged specification, "Supervisor CSRs".
#define csr_read(csr) \
    ({ uint64_t value_; __asm__ volatile("csrr %0, " #csr : "=r"(value_) : : "memory"); value_; })
#define csr_set(csr, bits) __asm__ volatile("csrs " #csr ", %0" : : "rK"((uint64_t)(bits)) : "memory")
#define csr_clear(csr, bits) __asm__ volatile("csrc " #csr ", %0" : : "rK"((uint64_t)(bits)) : "memory")

enum {
    SSTATUS_SIE = 1 << 1,  // interrupts as a whole
    SIE_STIE = 1 << 5,     // the timer's
    SIE_SEIE = 1 << 9,     // external ones: those that come through the PLIC
};

// Orders everything before it, in memory and on devices, before everything after it. Weaker fences would do at most
// places; a driver that is read should not make its reader prove which.
#define barrier() __asm__ volatile("fence iorw, iorw" : : : "memory")

// The clock: counts up at ticks_per_second and never stops ("Zicntr": the time CSR).
static inline uint64_t now(void) {
    return csr_read(time);
}

static inline uint32_t mmio_read(uintptr_t address) {
    uint32_t value = *(volatile uint32_t *)address;
    barrier();
    return value;
}

static inline void mmio_write(uintptr_t address, uint32_t value) {
    barrier();
    *(volatile uint32_t *)address = value;
}

// main.c
extern uint64_t ticks_per_second;
uint64_t microseconds_x10(uint64_t ticks);
void print_spread(const char *what, uint32_t *ticks, size_t count);  // sorts `ticks`
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// sbi.c
enum sbi_extension {
    SBI_BASE = 0x10,
    SBI_TIME = 0x54494d45,   // "TIME"
    SBI_RESET = 0x53525354,  // "SRST"
    SBI_DEBUG_CONSOLE = 0x4442434e,  // "DBCN"
};
uint64_t sbi_spec_version(void);  // major << 24 | minor
uint64_t sbi_implementation(void);
uint64_t sbi_implementation_version(void);
bool sbi_has(enum sbi_extension extension);
void sbi_write(const char *text, size_t length);
void sbi_set_timer(uint64_t when);
_Noreturn void sbi_power_off(bool because_of_failure);

// fdt.c
struct memory {
    uint64_t base, size;  // bytes
};
bool fdt_open(const void *blob);
struct memory fdt_memory(void);
uint64_t fdt_timebase_frequency(void);  // Hz

// trap.c
typedef void interrupt_handler(void);
extern uint64_t timer_fired_at;  // time at which the timer's interrupt came; 0 until then
void interrupts_init(uint64_t hart);
void interrupt_enable(unsigned source, interrupt_handler *handler);
void timer_arm(uint64_t when);
void timer_cancel(void);
void sleep_until_interrupt(void);

// console.c
bool console_init(void);
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_arguments(const char *format, __builtin_va_list arguments);
void console_panic(void);

// block.c
void block_test(void);

#endif
