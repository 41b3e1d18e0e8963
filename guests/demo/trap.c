// SPDX-License-Identifier: GPL-2.0-or-later
//
// Interrupts. A device raises its line at the PLIC, the platform-level interrupt controller; the PLIC raises the
// hart's external interrupt; the hart traps to trap_entry (start.S), which calls trap().
//
// The program never takes an interrupt by surprise: they are off (sstatus.SIE = 0) everywhere except for one moment in
// sleep_until_interrupt(). Handlers and the code that waits for them therefore need no locks.
#include "demo.h"

// RISC-V PLIC specification, "Memory Map". A context is one privilege mode of one hart.
enum {
    PLIC = 0x0c000000,
    PLIC_PRIORITY = PLIC,            // + 4 a source; 0 is never
    PLIC_ENABLE = PLIC + 0x2000,     // + 0x80 a context; one bit a source
    PLIC_THRESHOLD = PLIC + 0x200000,  // + 0x1000 a context; only higher priorities pass
    PLIC_CLAIM = PLIC + 0x200004,    // + 0x1000 a context
    SOURCES = 32,                    // the first enable word: all that the board's virtio slots use
};

// RISC-V privileged specification, "Supervisor Cause Register (scause)".
#define CAUSE_INTERRUPT (1ull << 63)
#define CAUSE_TIMER (CAUSE_INTERRUPT | 5)
#define CAUSE_EXTERNAL (CAUSE_INTERRUPT | 9)

uint64_t timer_fired_at;
static uint64_t context;
static interrupt_handler *handlers[SOURCES];

void interrupts_init(uint64_t hart) {
    context = 2 * hart + 1;  // on this board each hart has two: M-mode's, then S-mode's
    mmio_write(PLIC_ENABLE + 0x80 * context, 0);
    mmio_write(PLIC_THRESHOLD + 0x1000 * context, 0);
    csr_set(sie, SIE_SEIE);
}

void interrupt_enable(unsigned source, interrupt_handler *handler) {
    uintptr_t enable = PLIC_ENABLE + 0x80 * context;
    handlers[source] = handler;
    mmio_write(PLIC_PRIORITY + 4 * source, 1);
    mmio_write(enable, mmio_read(enable) | 1u << source);
}

// PLIC specification, "Interrupt Claim Process" and "Interrupt Completion": reading the claim register hands us the
// source with the highest priority (0: none), and that source is silent until we write its number back.
static void external_interrupt(void) {
    uint32_t source;
    while ((source = mmio_read(PLIC_CLAIM + 0x1000 * context)) != 0) {
        if (source >= SOURCES || handlers[source] == NULL)
            fail("interrupt from source %lu, which is not in use", (uint64_t)source);
        handlers[source]();
        mmio_write(PLIC_CLAIM + 0x1000 * context, source);
    }
}

// Called by trap_entry with scause, sepc and stval.
void trap(uint64_t cause, uint64_t pc, uint64_t value);
void trap(uint64_t cause, uint64_t pc, uint64_t value) {
    switch (cause) {
    case CAUSE_TIMER:
        timer_fired_at = now();
        timer_cancel();  // it stays pending until the timer is set anew: without this it would trap for ever
        break;
    case CAUSE_EXTERNAL:
        external_interrupt();
        break;
    default:
        fail("unexpected trap, cause 0x%lx at 0x%lx, value 0x%lx", cause, pc, value);
    }
}

void timer_arm(uint64_t when) {
    timer_fired_at = 0;
    sbi_set_timer(when);
    csr_set(sie, SIE_STIE);
}

// SBI specification, "Set Timer": masking the interrupt is as good as setting the timer infinitely far off.
void timer_cancel(void) {
    csr_clear(sie, SIE_STIE);
}

// Privileged specification, "Wait for Interrupt": wfi goes on when an interrupt is pending that sie enables, even while
// sstatus.SIE is 0. So the caller checks its condition with interrupts off, and one that comes between the check and
// the wfi ends the wfi at once instead of being missed. Turning SIE on for a moment then takes the trap: pending
// interrupts are looked at right after a write to sstatus ("Supervisor Interrupt Registers").
void sleep_until_interrupt(void) {
    __asm__ volatile("wfi" : : : "memory");
    csr_set(sstatus, SSTATUS_SIE);
    csr_clear(sstatus, SSTATUS_SIE);
}
