// SPDX-License-Identifier: GPL-2.0-or-later
//
// The disk test: fills the last megabyte of a virtio-blk disk with a pattern and reads it back (virtio 1.2, 5.2).
// What was there before is lost.
#include "virtio.h"

enum {
    SECTOR = 512,                      // bytes; the unit of all sector numbers, whatever the disk's own (5.2.6)
    CHUNK = 4096,                      // bytes a request: a page, as file systems like it
    CHUNK_SECTORS = CHUNK / SECTOR,
    MAX_CHUNKS = 256,                  // 1 MiB: some milliseconds of work
    MAX_IN_FLIGHT = 16,
    SINGLE_READS = 64,                 // enough for a median
    PATIENCE = 30,                     // seconds for a pass over all chunks; even a slow disk needs under one
    DESCRIPTORS = 3,                   // a request's: header, data, status
};

#define VIRTIO_BLK_F_RO (1ull << 5)    // 5.2.3 "Feature bits"
#define VIRTIO_BLK_F_FLUSH (1ull << 9)

enum { CONFIG_CAPACITY = 0 };          // 5.2.4 "Device configuration layout": in sectors

// 5.2.6 "Device Operation".
enum request_type { READ = 0, WRITE = 1, FLUSH = 4, GET_ID = 8 };
enum { STATUS_OK = 0, STATUS_NONE_YET = 0xff };
enum { ID_LENGTH = 20 };

// Slot i of these uses the descriptors from DESCRIPTORS * i on, so nothing has to be allocated.
static struct {
    struct {
        uint32_t type, reserved;
        uint64_t sector;
    } header;
    uint8_t status;                    // the device's answer
    uint64_t submitted_at;
} requests[MAX_IN_FLIGHT];

static struct queue queue;
static unsigned slot;
static uint32_t free_requests;         // bit i: requests[i] is free
static unsigned completed, interrupts;
static uint8_t worst_status;           // of the requests completed
static uint32_t latency[MAX_CHUNKS];   // ticks, of the requests completed

// A host that reads past its own cache wants its buffers aligned.
static uint64_t data[MAX_CHUNKS][CHUNK / 8] __attribute__((aligned(SECTOR)));

static void on_interrupt(void) {
    int head;
    interrupts++;
    virtio_acknowledge(slot);
    while ((head = virtio_take(&queue)) >= 0) {
        unsigned i = head / DESCRIPTORS;
        if (head % DESCRIPTORS != 0 || i >= MAX_IN_FLIGHT || free_requests & 1u << i)
            fail("the disk answered a request that was not made");
        if (requests[i].status > worst_status)
            worst_status = requests[i].status;
        latency[completed++] = now() - requests[i].submitted_at;
        free_requests |= 1u << i;
    }
}

// 5.2.6: a request is a chain of a header that the device reads, data, and a status byte that it writes.
static void submit(enum request_type type, uint64_t sector, void *buffer, uint32_t length) {
    unsigned i = 0;
    while (!(free_requests & 1u << i))
        i++;
    unsigned first = i * DESCRIPTORS;
    free_requests &= ~(1u << i);
    requests[i].header.type = type;
    requests[i].header.sector = sector;
    requests[i].status = STATUS_NONE_YET;

    struct descriptor *chain = &queue.descriptors[first];
    chain[0] = (struct descriptor){(uintptr_t)&requests[i].header, sizeof requests[i].header, DESCRIPTOR_NEXT,
                                   first + 1};
    chain[1] = (struct descriptor){(uintptr_t)buffer, length, DESCRIPTOR_NEXT, first + 2};
    if (type != WRITE)
        chain[1].flags |= DESCRIPTOR_DEVICE_WRITES;
    chain[2] = (struct descriptor){(uintptr_t)&requests[i].status, 1, DESCRIPTOR_DEVICE_WRITES, 0};
    if (length == 0)
        chain[0].next = first + 2;     // no data, no descriptor for it
    requests[i].submitted_at = now();
    virtio_offer(&queue, first);
}

// Does `count` requests of `length` bytes each, the first at `sector`, with up to `in_flight` at a time, and sleeps
// whenever there is nothing to submit. Returns the ticks it took; the disk's answer is in worst_status.
static uint64_t transfer(enum request_type type, uint64_t sector, unsigned count, uint32_t length, unsigned in_flight) {
    uint64_t start = now();
    unsigned submitted = 0;
    completed = interrupts = worst_status = 0;
    timer_arm(start + PATIENCE * ticks_per_second);
    while (completed < count) {
        unsigned before = submitted;
        while (submitted < count && submitted - completed < in_flight) {
            submit(type, sector + submitted * CHUNK_SECTORS, data[submitted], length);
            submitted++;
        }
        if (submitted != before)
            virtio_notify(&queue);
        sleep_until_interrupt();
        if (timer_fired_at != 0 && completed < count)
            fail("disk: %u of %u requests unanswered after %u s, device status 0x%lx", count - completed, count,
                 (unsigned)PATIENCE, (uint64_t)virtio_status(slot));
    }
    timer_cancel();
    return now() - start;
}

static uint64_t transfer_chunks(const char *what, enum request_type type, uint64_t sector, unsigned count,
                                unsigned in_flight) {
    uint64_t ticks = transfer(type, sector, count, CHUNK, in_flight);
    if (worst_status != STATUS_OK)
        fail("disk: %s answered with status %u", what, (unsigned)worst_status);
    return ticks;
}

static void timed_pass(const char *what, enum request_type type, uint64_t sector, unsigned count, unsigned in_flight) {
    uint64_t ticks = transfer_chunks(what, type, sector, count, in_flight);
    uint64_t tenths_ms = microseconds_x10(ticks) / 1000;
    uint64_t mib_per_second = (uint64_t)count * CHUNK * ticks_per_second / (ticks + 1) >> 20;
    print("  %s %4u requests of 4 KiB, up to %2u in flight: %lu.%lu ms, %lu MiB/s, %u interrupts\n", what, count,
          in_flight, tenths_ms / 10, tenths_ms % 10, mib_per_second, interrupts);
}

// A word that no other place on the disk has and no other run writes (splitmix64's mixing function).
static uint64_t pattern(uint64_t seed, unsigned chunk, unsigned word) {
    uint64_t x = seed + 0x9e3779b97f4a7c15 * (chunk * (CHUNK / 8) + word + 1);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static void verify(uint64_t seed, uint64_t sector, unsigned count) {
    for (unsigned chunk = 0; chunk < count; chunk++)
        for (unsigned word = 0; word < CHUNK / 8; word++)
            if (data[chunk][word] != pattern(seed, chunk, word))
                fail("disk: sector %lu, byte %u: read 0x%lx, wrote 0x%lx",
                     sector + chunk * CHUNK_SECTORS + word * 8 / SECTOR, word * 8 % SECTOR, data[chunk][word],
                     pattern(seed, chunk, word));
}

static void print_serial(void) {
    transfer(GET_ID, 0, 1, ID_LENGTH, 1);
    char *serial = (char *)data[0];
    serial[ID_LENGTH] = '\0';          // one of full length has no 0 of its own (5.2.6)
    for (char *c = serial; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    if (worst_status == STATUS_OK && *serial != '\0')
        print(", serial \"%s\"\n", serial);
    else
        print(", no serial\n");
}

static void write_and_flush(uint64_t seed, uint64_t sector, unsigned count, unsigned in_flight, bool can_flush) {
    for (unsigned chunk = 0; chunk < count; chunk++)
        for (unsigned word = 0; word < CHUNK / 8; word++)
            data[chunk][word] = pattern(seed, chunk, word);
    timed_pass("write", WRITE, sector, count, in_flight);
    if (can_flush) {
        uint64_t tenths = microseconds_x10(transfer(FLUSH, 0, 1, 0, 1));
        if (worst_status != STATUS_OK)
            fail("disk: flush answered with status %u", (unsigned)worst_status);
        print("  flush in %lu.%lu us\n", tenths / 10, tenths % 10);
    } else {
        print("  no flush: the disk has no write cache\n");
    }
    for (unsigned chunk = 0; chunk < count; chunk++)
        for (unsigned word = 0; word < CHUNK / 8; word++)
            data[chunk][word] = 0;     // what verify() finds must have come from the disk
}

void block_test(void) {
    int found = virtio_find(VIRTIO_BLOCK);
    if (found < 0) {
        print("  no virtio-blk device: skipped\n");
        return;
    }
    slot = found;
    uint64_t features = virtio_start(slot, VIRTIO_BLK_F_RO | VIRTIO_BLK_F_FLUSH);
    virtio_queue_init(&queue, slot, 0);
    virtio_driver_ok(slot, on_interrupt);

    unsigned in_flight = queue.size / DESCRIPTORS;
    if (in_flight > MAX_IN_FLIGHT)
        in_flight = MAX_IN_FLIGHT;
    if (in_flight == 0)
        fail("disk: a queue of %u descriptors is too small", (unsigned)queue.size);
    free_requests = (1u << in_flight) - 1;

    uint64_t capacity = virtio_config64(slot, CONFIG_CAPACITY);
    print("  %lu KiB (%lu sectors)%s", capacity / 2, capacity, features & VIRTIO_BLK_F_RO ? ", read-only" : "");
    print_serial();

    unsigned count = capacity / CHUNK_SECTORS < MAX_CHUNKS ? capacity / CHUNK_SECTORS : MAX_CHUNKS;
    if (count == 0) {
        print("  smaller than one request of 4 KiB: skipped\n");
        return;
    }
    uint64_t sector = capacity - count * CHUNK_SECTORS;
    uint64_t seed = now();             // what an earlier run left on the disk must not pass
    print("  the test uses its last %u KiB, from sector %lu on\n", count * (CHUNK / 1024), sector);
    if (!(features & VIRTIO_BLK_F_RO))
        write_and_flush(seed, sector, count, in_flight, features & VIRTIO_BLK_F_FLUSH);
    timed_pass("read ", READ, sector, count, in_flight);
    if (!(features & VIRTIO_BLK_F_RO)) {
        verify(seed, sector, count);
        print("  all %u KiB read back as written\n", count * (CHUNK / 1024));
    }

    unsigned singles = count < SINGLE_READS ? count : SINGLE_READS;
    transfer_chunks("read", READ, sector, singles, 1);
    print_spread("  4 KiB reads one at a time: latency", latency, singles);
}
