// SPDX-License-Identifier: GPL-2.0-or-later
//
// Calls into the Supervisor Binary Interface: what the machine's firmware does for an operating system.
// Chapters are those of the RISC-V SBI specification 2.0.
#include "demo.h"

struct sbi_result {
    int64_t error;  // 0, or a negative number
    uint64_t value;
};

// "Binary Encoding": extension in a7, function in a6, arguments from a0 on; the answer in a0 and a1.
static struct sbi_result call(uint64_t extension, uint64_t function, uint64_t arg0, uint64_t arg1, uint64_t arg2) {
    register uint64_t a0 __asm__("a0") = arg0;
    register uint64_t a1 __asm__("a1") = arg1;
    register uint64_t a2 __asm__("a2") = arg2;
    register uint64_t a6 __asm__("a6") = function;
    register uint64_t a7 __asm__("a7") = extension;
    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
    return (struct sbi_result){(int64_t)a0, a1};
}

// "Base Extension".
uint64_t sbi_spec_version(void) {
    return call(SBI_BASE, 0, 0, 0, 0).value;
}

uint64_t sbi_implementation(void) {
    return call(SBI_BASE, 1, 0, 0, 0).value;
}

uint64_t sbi_implementation_version(void) {
    return call(SBI_BASE, 2, 0, 0, 0).value;
}

bool sbi_has(enum sbi_extension extension) {
    struct sbi_result probe = call(SBI_BASE, 3, extension, 0, 0);
    return probe.error == 0 && probe.value != 0;
}

// "Timer Extension": requests the timer's interrupt at time `when`, and takes back one that is pending.
void sbi_set_timer(uint64_t when) {
    if (call(SBI_TIME, 0, when, 0, 0).error != 0)
        fail("the firmware cannot set the timer");
}

// "Debug Console Extension" where there is one (SBI 2.0), else "Console Putchar" of the "Legacy Extensions".
void sbi_write(const char *text, size_t length) {
    bool has_debug_console = sbi_has(SBI_DEBUG_CONSOLE);
    while (has_debug_console && length > 0) {
        struct sbi_result written = call(SBI_DEBUG_CONSOLE, 0, length, (uintptr_t)text, 0);
        if (written.error != 0 || written.value == 0 || written.value > length)
            break;  // what is left goes out the old way
        text += written.value;
        length -= written.value;
    }
    for (; length > 0; text++, length--)
        call(0x01, 0, (unsigned char)*text, 0, 0);
}

// "System Reset Extension": type 0 is shutdown; reason 0 is none, 1 a system failure.
_Noreturn void sbi_power_off(bool because_of_failure) {
    call(SBI_RESET, 0, 0, because_of_failure, 0);
    call(0x08, 0, 0, 0, 0);  // a firmware too old for that: "System Shutdown" of the "Legacy Extensions"
    csr_clear(sie, SIE_STIE | SIE_SEIE);
    for (;;)
        __asm__ volatile("wfi");
}
