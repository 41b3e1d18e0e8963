// SPDX-License-Identifier: GPL-2.0-or-later
//
// Where the program begins, and where every trap begins.

// Entry: one hart jumps here in S-mode with paging off, a0 = its number, a1 = address of the device tree; the other
// harts stay with the firmware ("Linux RISC-V boot requirements"; SBI specification, Hart State Management).
        .section .text.start, "ax"
        .globl  _start
_start:
        csrw    sie, zero               // no interrupt until we ask for one
        csrci   sstatus, 2              // sstatus.SIE
        .option push
        .option norelax                 // gp cannot be computed relative to gp
        la      gp, __global_pointer$
        .option pop
        la      sp, stack_top
        la      t0, trap_entry
        csrw    stvec, t0               // low two bits 0: all traps come to this address ("direct" mode)

        la      t0, bss_start           // C wants its zero-initialized data to be zero
        la      t1, bss_end
1:      bgeu    t0, t1, 2f
        sd      zero, 0(t0)
        addi    t0, t0, 8
        j       1b
2:
        tail    main                    // never returns

// The hart comes here on every exception and interrupt, on the stack of whatever ran. It has saved only the pc; we
// save the registers that a C function may change (the calling convention keeps the others) and call trap().
        .text
        .balign 4                       // stvec.BASE
trap_entry:
        addi    sp, sp, -128            // a multiple of 16, as the calling convention wants
        .set    slot, 0
        .irp    reg, ra, t0, t1, t2, t3, t4, t5, t6, a0, a1, a2, a3, a4, a5, a6, a7
        sd      \reg, slot(sp)
        .set    slot, slot + 8
        .endr

        csrr    a0, scause
        csrr    a1, sepc
        csrr    a2, stval
        call    trap

        .set    slot, 0
        .irp    reg, ra, t0, t1, t2, t3, t4, t5, t6, a0, a1, a2, a3, a4, a5, a6, a7
        ld      \reg, slot(sp)
        .set    slot, slot + 8
        .endr
        addi    sp, sp, 128
        sret

        .section .bss.stack, "aw", @nobits
        .balign 16
        .space  8192
stack_top:

        .section .note.GNU-stack, "", @progbits
