// SPDX-License-Identifier: GPL-2.0-or-later
//
// A program for testing that stopping a vCPU at any moment loses no instruction and repeats none.
//
// It counts its rounds in many ways, each with instructions that leave a wrong result when one of them runs twice or
// not at all (an increment, a push, a multiplication), and parks for inspection when the host asks it to. The host
// stops and resumes it as often as it likes, asks, and then checks that all counts agree exactly.
//
// Loading: these bytes at any address BASE that is a multiple of 4096, with 48 KiB of zeroed RAM from BASE on; jump to
// BASE in S-mode (or M-mode) with paging off. Registers need no values. Interrupts are never taken.
//
// Mailbox, all fields 64 bits, little-endian:
//   BASE + 0x1000  REQUEST   the host writes 1: finish the round, then park. It writes 0: leave the park and go on.
//   BASE + 0x1008  PARKED    the guest writes 1 when the results are complete, and 0 when it leaves the park.
//   BASE + 0x1010  results   R[0] to R[18], as listed below
// Parked, the guest executes wfi again and again until REQUEST is 0. An interrupt line that becomes pending ends a wfi
// without a trap (sie enables all three lines, sstatus.SIE is 0). So, to go on: write 0, then raise a line.
//
// When PARKED is 1, exactly this holds, all modulo 2^64, with n = R[0]:
//   R[0]  = n           rounds completed                       register s0
//   R[1]  = n           amoadd.d on memory                     BASE + 0x2000
//   R[2]  = n           ld, addi, sd on memory                 BASE + 0x2008
//   R[3]  = n           lr.d, addi, sc.d on memory             BASE + 0x2010
//   R[4]  = n & 1       amoxor.d of 1 on memory                BASE + 0x2018
//   R[5]  = n(n - 1)/2  sum of the old values from amoadd.d    register s5
//   R[6]  = x(n)        x(0) = 0, x(k + 1) = 5 x(k) + 1        register s4
//                       in Python: (pow(5, n, 2**66) - 1) % 2**66 // 4
//   R[7]  = 5n          calls entered, five deep each round    register s1
//   R[8]  = 5n          calls returned from                    register s2
//   R[9]  = 0           bytes pushed and not popped            BASE + 0xc000 - sp
//   R[10] = 8n          c.addi in a loop of eight              register s3
//   R[11] to R[18] = n  ld, addi, sd on eight pages            BASE + 0x3000, 0x4008, 0x5010, ... 0xa038
//
// At any other stop, with n = s0: memory counter 1, 2, 3 and those of the pages are each n or n + 1, and one that comes
// later in the round is never ahead of one that comes earlier; s1 and s2 are in 5n..5n + 5 with s1 >= s2; s3 is in
// 8n..8n + 8; BASE + 0xc000 - sp is a multiple of 16 in 0..80.

        .set    SIE_ALL, 0x222          // software, timer and external interrupt of S-mode

        .globl  _start
_start:
        lla     s8, _start              // BASE
        csrci   sstatus, 2              // sstatus.SIE
        li      t0, SIE_ALL
        csrw    sie, t0
        li      t0, 0x1000
        add     s11, s8, t0             // mailbox
        add     s10, s11, t0            // counters
        add     s9, s10, t0             // the eight pages
        li      t0, 0xc000
        add     s7, s8, t0              // top of the stack
        mv      sp, s7
        li      s6, 5                   // the multiplier
        li      s0, 0
        li      s1, 0
        li      s2, 0
        li      s3, 0
        li      s4, 0
        li      s5, 0

round:
        li      t0, 1
        amoadd.d t1, t0, (s10)
        add     s5, s5, t1

        ld      t1, 8(s10)
        addi    t1, t1, 1
        sd      t1, 8(s10)

        addi    t2, s10, 16
1:      lr.d    t1, (t2)
        addi    t1, t1, 1
        sc.d    t3, t1, (t2)
        bnez    t3, 1b                  // a stop may take the reservation away; then nothing was stored

        addi    t2, s10, 24
        amoxor.d t1, t0, (t2)

        mul     s4, s4, s6
        addi    s4, s4, 1

        li      a0, 5
        jal     descend

        li      t1, 8
2:      c.addi  s3, 1
        c.addi  t1, -1
        bnez    t1, 2b

        mv      t2, s9
        li      t3, 0x1008              // the next page, eight bytes further in it
        li      t1, 8
3:      ld      t4, (t2)
        c.addi  t4, 1
        sd      t4, (t2)
        add     t2, t2, t3
        c.addi  t1, -1
        bnez    t1, 3b

        fence   rw, rw
        c.addi  s0, 1                   // the round is complete
        ld      t1, (s11)               // REQUEST
        beqz    t1, round

        sd      s0, 0x10(s11)           // R[0]
        addi    t2, s11, 0x18           // R[1] to R[4]: the counters in memory
        mv      t3, s10
        addi    t1, s10, 32
4:      ld      t4, (t3)
        sd      t4, (t2)
        addi    t3, t3, 8
        addi    t2, t2, 8
        bne     t3, t1, 4b
        sub     t1, s7, sp
        sd      s5, 0x00(t2)            // R[5] to R[10]
        sd      s4, 0x08(t2)
        sd      s1, 0x10(t2)
        sd      s2, 0x18(t2)
        sd      t1, 0x20(t2)
        sd      s3, 0x28(t2)
        addi    t2, t2, 0x30
        mv      t3, s9                  // R[11] to R[18]: the pages
        li      t5, 0x1008
        li      t1, 8
5:      ld      t4, (t3)
        sd      t4, (t2)
        add     t3, t3, t5
        addi    t2, t2, 8
        addi    t1, t1, -1
        bnez    t1, 5b

        fence   rw, rw
        li      t1, 1
        sd      t1, 8(s11)              // PARKED
6:      wfi
        ld      t1, (s11)
        bnez    t1, 6b
        sd      zero, 8(s11)
        j       round

// Calls itself until a0 is 0: five pushes, calls, returns and pops.
descend:
        c.addi  sp, -16
        c.sdsp  ra, 8(sp)
        c.addi  s1, 1
        c.addi  a0, -1
        beqz    a0, 7f
        jal     descend
7:      c.addi  s2, 1
        c.ldsp  ra, 8(sp)
        c.addi  sp, 16
        ret
