// SPDX-License-Identifier: GPL-2.0-or-later
//
// What all virtio devices have in common. Sections are those of the virtio specification 1.2.
#ifndef VIRTIO_H
#define VIRTIO_H

#include "demo.h"

enum {
    VIRTIO_SLOTS = 8,         // of the board, each a page of registers; most are empty
    VIRTIO_BLOCK = 2,         // device numbers (5 "Device Types")
    VIRTIO_CONSOLE = 3,
    QUEUE_SIZE = 64,          // entries: enough for the 16 disk requests of 3 descriptors that we keep in flight
};
#define VIRTIO_F_VERSION_1 (1ull << 32)  // 6 "Reserved Feature Bits"

// 2.7.5 "The Virtqueue Descriptor Table": a piece of memory that the device reads or writes, and the next piece.
struct descriptor {
    uint64_t address;
    uint32_t length;  // bytes
    uint16_t flags, next;
};
enum { DESCRIPTOR_NEXT = 1, DESCRIPTOR_DEVICE_WRITES = 2 };

// 2.7 "Split Virtqueues": descriptors, and two rings of which each side writes one. The driver puts the number of a
// chain's first descriptor into `available`; the device puts it into `used` when it is done with the chain.
struct queue {
    struct descriptor descriptors[QUEUE_SIZE];
    struct {  // 2.7.6 "The Virtqueue Available Ring"
        uint16_t flags, index;
        uint16_t ring[QUEUE_SIZE];
        uint16_t used_event;
    } available;
    struct {  // 2.7.8 "The Virtqueue Used Ring"
        uint16_t flags;
        volatile uint16_t index;
        struct {
            uint32_t id, length;
        } ring[QUEUE_SIZE];
        uint16_t available_event;
    } used __attribute__((aligned(4)));

    // From here on the device does not look.
    uintptr_t registers;
    uint16_t number, size;
    uint16_t seen;  // used.index up to which virtio_take() has handed out
} __attribute__((aligned(16)));

enum slot_state { SLOT_EMPTY, SLOT_LEGACY, SLOT_DEVICE };
enum slot_state virtio_probe(unsigned slot, uint32_t *device);
int virtio_find(uint32_t device);  // its slot, or -1
unsigned virtio_interrupt_source(unsigned slot);

uint64_t virtio_start(unsigned slot, uint64_t wanted_features);
void virtio_queue_init(struct queue *queue, unsigned slot, uint16_t number);
void virtio_driver_ok(unsigned slot, interrupt_handler *handler);
void virtio_acknowledge(unsigned slot);

void virtio_offer(struct queue *queue, uint16_t head);
void virtio_notify(struct queue *queue);
bool virtio_all_used(const struct queue *queue);
int virtio_take(struct queue *queue);

uint64_t virtio_config64(unsigned slot, unsigned offset);
uint32_t virtio_status(unsigned slot);

#endif
