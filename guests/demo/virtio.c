// SPDX-License-Identifier: GPL-2.0-or-later
//
// The virtio transport over memory-mapped registers, and split virtqueues. Sections are those of virtio 1.2.
#include "virtio.h"

// 4.2.2 "MMIO Device Register Layout".
enum {
    MAGIC_VALUE = 0x000,
    VERSION = 0x004,
    DEVICE_ID = 0x008,
    DEVICE_FEATURES = 0x010,
    DEVICE_FEATURES_SEL = 0x014,
    DRIVER_FEATURES = 0x020,
    DRIVER_FEATURES_SEL = 0x024,
    QUEUE_SEL = 0x030,
    QUEUE_NUM_MAX = 0x034,
    QUEUE_NUM = 0x038,
    QUEUE_READY = 0x044,
    QUEUE_NOTIFY = 0x050,
    INTERRUPT_STATUS = 0x060,
    INTERRUPT_ACK = 0x064,
    STATUS = 0x070,
    QUEUE_DESC = 0x080,    // these three: low half, then high half
    QUEUE_DRIVER = 0x090,
    QUEUE_DEVICE = 0x0a0,
    CONFIG_GENERATION = 0x0fc,
    CONFIG = 0x100,
};

// 2.1 "Device Status Field".
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };

enum { MAGIC = 0x74726976 };         // "virt"
enum { USED_F_NO_NOTIFY = 1 };       // 2.7.10 "Available Buffer Notification Suppression"

static uintptr_t registers_of(unsigned slot) {
    return 0x10001000 + 0x1000 * slot;
}

unsigned virtio_interrupt_source(unsigned slot) {
    return 1 + slot;
}

// 4.2.2.2: a driver ignores a device with the wrong magic value or an unknown version, and one with number 0, which
// means that the slot is empty. Version 1 is the "legacy" interface from before the standard.
enum slot_state virtio_probe(unsigned slot, uint32_t *device) {
    uintptr_t registers = registers_of(slot);
    if (mmio_read(registers + MAGIC_VALUE) != MAGIC)
        return SLOT_EMPTY;
    uint32_t version = mmio_read(registers + VERSION);
    *device = mmio_read(registers + DEVICE_ID);
    if (*device == 0 || version > 2)
        return SLOT_EMPTY;
    return version == 2 ? SLOT_DEVICE : SLOT_LEGACY;
}

int virtio_find(uint32_t device) {
    for (unsigned slot = 0; slot < VIRTIO_SLOTS; slot++) {
        uint32_t found;
        if (virtio_probe(slot, &found) == SLOT_DEVICE && found == device)
            return slot;
    }
    return -1;
}

uint32_t virtio_status(unsigned slot) {
    return mmio_read(registers_of(slot) + STATUS);
}

static void add_status(uintptr_t registers, uint32_t bits) {
    mmio_write(registers + STATUS, mmio_read(registers + STATUS) | bits);
}

// 3.1.1 "Driver Requirements: Device Initialization", steps 1 to 6: reset, then agree on what both sides understand.
// Returns the features in force. Steps 7 and 8 are virtio_queue_init() and virtio_driver_ok().
uint64_t virtio_start(unsigned slot, uint64_t wanted_features) {
    uintptr_t registers = registers_of(slot);
    mmio_write(registers + STATUS, 0);
    uint64_t give_up = now() + ticks_per_second;
    while (mmio_read(registers + STATUS) != 0)  // 2.4.2: the reset is over when 0 is read back
        if (now() > give_up)
            fail("slot %u: the device does not finish its reset", slot);
    add_status(registers, ACKNOWLEDGE);
    add_status(registers, DRIVER);

    uint64_t features = 0;
    for (unsigned half = 0; half < 2; half++) {
        mmio_write(registers + DEVICE_FEATURES_SEL, half);
        features |= (uint64_t)mmio_read(registers + DEVICE_FEATURES) << 32 * half;
    }
    features &= wanted_features | VIRTIO_F_VERSION_1;
    if (!(features & VIRTIO_F_VERSION_1))
        fail("slot %u: the device does not offer VIRTIO_F_VERSION_1", slot);
    for (unsigned half = 0; half < 2; half++) {
        mmio_write(registers + DRIVER_FEATURES_SEL, half);
        mmio_write(registers + DRIVER_FEATURES, features >> 32 * half);
    }

    add_status(registers, FEATURES_OK);
    if (!(mmio_read(registers + STATUS) & FEATURES_OK))
        fail("slot %u: the device refuses features that it offered", slot);
    return features;
}

static void write_address(uintptr_t reg, const volatile void *address) {
    mmio_write(reg, (uintptr_t)address);
    mmio_write(reg + 4, (uintptr_t)address >> 32);
}

// 4.2.3.2 "Virtqueue Configuration".
void virtio_queue_init(struct queue *queue, unsigned slot, uint16_t number) {
    uintptr_t registers = registers_of(slot);
    mmio_write(registers + QUEUE_SEL, number);
    if (mmio_read(registers + QUEUE_READY) != 0)
        fail("slot %u: queue %u is in use after a reset", slot, (unsigned)number);
    uint32_t max = mmio_read(registers + QUEUE_NUM_MAX);
    if (max == 0)
        fail("slot %u: the device has no queue %u", slot, (unsigned)number);
    queue->size = QUEUE_SIZE;
    while (queue->size > max)  // 2.7: sizes are powers of two
        queue->size /= 2;
    queue->registers = registers;
    queue->number = number;
    mmio_write(registers + QUEUE_NUM, queue->size);
    write_address(registers + QUEUE_DESC, queue->descriptors);
    write_address(registers + QUEUE_DRIVER, &queue->available);
    write_address(registers + QUEUE_DEVICE, &queue->used);
    mmio_write(registers + QUEUE_READY, 1);
}

// From here on the device works. `handler` is called for each of its interrupts and begins with virtio_acknowledge().
void virtio_driver_ok(unsigned slot, interrupt_handler *handler) {
    interrupt_enable(virtio_interrupt_source(slot), handler);
    add_status(registers_of(slot), DRIVER_OK);
}

// 4.2.3.4 "Notifications From The Device": acknowledging what we have seen lowers the line. It must come before looking
// at the used ring: a buffer that the device uses after that look raises the line anew.
void virtio_acknowledge(unsigned slot) {
    uintptr_t registers = registers_of(slot);
    mmio_write(registers + INTERRUPT_ACK, mmio_read(registers + INTERRUPT_STATUS));
    barrier();
}

// 2.7.13 "Supplying Buffers to The Device": the ring entry must be in memory before the index that covers it.
void virtio_offer(struct queue *queue, uint16_t head) {
    queue->available.ring[queue->available.index % queue->size] = head;
    barrier();
    queue->available.index++;
}

// The doorbell; one ring of it is enough for all that was offered. 2.7.13.4.1: the index must be in memory before we
// look whether the device wants to be notified.
void virtio_notify(struct queue *queue) {
    barrier();
    if (!(*(volatile uint16_t *)&queue->used.flags & USED_F_NO_NOTIFY))
        mmio_write(queue->registers + QUEUE_NOTIFY, queue->number);
}

// Is the device done with all that it was offered?
bool virtio_all_used(const struct queue *queue) {
    return queue->used.index == queue->available.index;
}

// 2.7.14 "Receiving Used Buffers From The Device": the next chain that it is done with, by its first descriptor, or -1.
int virtio_take(struct queue *queue) {
    if (queue->seen == queue->used.index)
        return -1;
    barrier();
    uint32_t head = queue->used.ring[queue->seen++ % queue->size].id;
    if (head >= queue->size)
        fail("the device used descriptor %u of %u", head, (unsigned)queue->size);
    return head;
}

// 2.5.1: a field wider than a register is read in two halves; the generation tells whether it changed meanwhile.
uint64_t virtio_config64(unsigned slot, unsigned offset) {
    uintptr_t registers = registers_of(slot);
    uint64_t give_up = now() + ticks_per_second;
    for (;;) {
        uint32_t generation = mmio_read(registers + CONFIG_GENERATION);
        uint64_t low = mmio_read(registers + CONFIG + offset);
        uint64_t high = mmio_read(registers + CONFIG + offset + 4);
        if (mmio_read(registers + CONFIG_GENERATION) == generation)
            return high << 32 | low;
        if (now() > give_up)
            fail("slot %u: the configuration does not stand still", slot);
    }
}
