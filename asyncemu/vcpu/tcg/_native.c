/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one native helper of asyncemu: two Unicorn hooks that must not wait for the GIL.
 *
 * 1. on_interrupt (UC_HOOK_INTR) answers `rdtime`, of which Linux makes about 100,000 in a boot, each costing 20 µs in
 *    Python; everything else goes on to the Python callback.
 * 2. on_block (UC_HOOK_BLOCK) stops the guest at a block start when the flag is set: the fallback for a Unicorn in which
 *    an asynchronous uc_emu_stop is not exact (see exact_stop.py).
 *
 * Nothing here links against Unicorn: Python hands in the addresses of the functions of the library it has loaded, and
 * makes the struct below with ctypes (native.py). The struct is written by the vCPU's thread only, and `stop` by anybody.
 */
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdint.h>
#include <time.h>

typedef void uc_engine;

struct state {
    int64_t clock_offset;   /* CLOCK_MONOTONIC minus guest time, ns */
    int64_t ns_per_tick;
    uint64_t rdtime_count;
    void (*python)(uc_engine *, uint32_t, void *);
    int (*vmem_read)(uc_engine *, uint64_t address, int prot, void *bytes, size_t size);
    int (*reg_read)(uc_engine *, int reg, void *value);
    int (*reg_write)(uc_engine *, int reg, const void *value);
    int (*emu_stop)(uc_engine *);
    int32_t reg_pc;
    int32_t reg_x0;
    volatile uint32_t stop;
    uint32_t padding;
};

enum {
    ILLEGAL_INSTRUCTION = 2,     /* RISC-V privileged, table of mcause */
    PROT_EXEC = 4,               /* UC_PROT_EXEC */
};

/* csrrs rd, time, x0 with any rd: RISC-V unprivileged, "Zicntr" */
#define RDTIME_MASK 0xfffff07fu
#define RDTIME 0xc0102073u

static void on_interrupt(uc_engine *uc, uint32_t number, void *user)
{
    struct state *state = user;

    if (number == ILLEGAL_INSTRUCTION) {
        uint64_t pc = 0;
        uint32_t instruction = 0;

        /* Unicorn calls with PC behind the instruction, always by 4. */
        state->reg_read(uc, state->reg_pc, &pc);
        if (state->vmem_read(uc, pc - 4, PROT_EXEC, &instruction, sizeof(instruction)) == 0 &&
            (instruction & RDTIME_MASK) == RDTIME) {
            int rd = (instruction >> 7) & 31;
            struct timespec now;
            uint64_t ticks;

            clock_gettime(CLOCK_MONOTONIC, &now);
            ticks = (uint64_t)(now.tv_sec * 1000000000ll + now.tv_nsec - state->clock_offset) / state->ns_per_tick;
            if (rd != 0)
                state->reg_write(uc, state->reg_x0 + rd, &ticks);
            state->rdtime_count++;
            return;
        }
    }
    state->python(uc, number, NULL);
}

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    struct state *state = user;

    (void)address;
    (void)size;
    if (state->stop)
        state->emu_stop(uc);
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Hooks that run without the GIL; see native.py.", -1, NULL, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module == NULL)
        return NULL;
    if (PyModule_AddObject(module, "on_interrupt", PyLong_FromVoidPtr((void *)on_interrupt)) < 0 ||
        PyModule_AddObject(module, "on_block", PyLong_FromVoidPtr((void *)on_block)) < 0 ||
        PyModule_AddIntConstant(module, "state_size", sizeof(struct state)) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
