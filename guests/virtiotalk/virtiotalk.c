// SPDX-License-Identifier: GPL-2.0-or-later
// A Linux program that drives examples/reverse.py, a virtio device without a kernel driver, from userspace.
//
// It maps the device's registers through /dev/mem, which works as long as no kernel driver has claimed them, and a
// page of its own for the queue and the buffers: the kernel says in /proc/self/pagemap where it is in memory. Root only.
// It waits by looking; with an interrupt in mind, write a kernel driver or use UIO.
//
//     riscv64-linux-gnu-gcc -O2 -static -o virtiotalk virtiotalk.c
//
// As a program: `virtiotalk TEXT...`. As the first program of the machine (`rdinit=/virtiotalk`): it mounts what it
// needs, says its words and powers off. Register and ring layouts: virtio 1.2, 4.2.2 and 2.7.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { SLOTS = 8, SLOT_SIZE = 0x1000, PAGE = 4096, QUEUE_SIZE = 8, DEVICE_ID = 63 };
#define FIRST_SLOT 0x10001000UL // of the board `virt`

enum { // registers: 4.2.2
	MAGIC = 0x00, VERSION = 0x04, ID = 0x08, DRIVER_FEATURES = 0x20, DRIVER_FEATURES_SELECT = 0x24,
	QUEUE_SELECT = 0x30, QUEUE_NUM = 0x38, QUEUE_READY = 0x44, QUEUE_NOTIFY = 0x50,
	STATUS = 0x70, QUEUE_DESC = 0x80, QUEUE_DRIVER = 0x90, QUEUE_DEVICE = 0xa0, CONFIG = 0x100,
};
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 64 }; // 2.1
enum { NEXT = 1, WRITE = 2 }; // 2.7.5

struct descriptor { uint64_t address; uint32_t length; uint16_t flags, next; };

// One page: whatever is in it is one piece of physical memory.
struct shared {
	struct descriptor descriptors[QUEUE_SIZE];
	struct { uint16_t flags, index, ring[QUEUE_SIZE]; } available;
	char fill[64];
	struct { uint16_t flags, index; struct { uint32_t head, length; } ring[QUEUE_SIZE]; } used __attribute__((aligned(4)));
	char question[1024], answer[1024];
};
_Static_assert(sizeof(struct shared) <= PAGE, "the queue must fit into one page");

static volatile uint8_t *registers;
static volatile struct shared *shared;
static uint64_t shared_address;

static void fail(const char *what)
{
	printf("virtiotalk: FAILED: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint32_t load(unsigned offset) { return *(volatile uint32_t *)(registers + offset); }
static void store(unsigned offset, uint32_t value) { *(volatile uint32_t *)(registers + offset) = value; }
static void fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); __asm__ volatile("fence iorw, iorw" ::: "memory"); }

static void find_device(void)
{
	int memory = open("/dev/mem", O_RDWR | O_SYNC);
	if (memory < 0)
		fail("/dev/mem");
	for (int slot = 0; slot < SLOTS; slot++) {
		registers = mmap(NULL, SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, FIRST_SLOT + slot * SLOT_SIZE);
		if (registers == MAP_FAILED)
			continue; // a kernel driver has it
		if (load(MAGIC) == 0x74726976 && load(VERSION) == 2 && load(ID) == DEVICE_ID) {
			printf("virtiotalk: device %d is in slot %d\n", DEVICE_ID, slot);
			return;
		}
		munmap((void *)registers, SLOT_SIZE);
	}
	errno = ENODEV;
	fail("no slot has the device");
}

static void get_page(void)
{
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	if (shared == MAP_FAILED)
		fail("a page");
	memset((void *)shared, 0, PAGE);
	uint64_t entry = 0;
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (pread(pagemap, &entry, 8, (uintptr_t)shared / PAGE * 8) != 8 || !(entry & ((1UL << 55) - 1)))
		fail("/proc/self/pagemap");
	close(pagemap);
	shared_address = (entry & ((1UL << 55) - 1)) * PAGE; // Documentation/admin-guide/mm/pagemap.rst
}

#define ADDRESS(member) (shared_address + offsetof(struct shared, member))

static void store_address(unsigned offset, uint64_t address)
{
	store(offset, (uint32_t)address);
	store(offset + 4, (uint32_t)(address >> 32));
}

static void start(void) // 3.1.1
{
	store(STATUS, 0);
	while (load(STATUS))
		;
	store(STATUS, ACKNOWLEDGE);
	store(STATUS, ACKNOWLEDGE | DRIVER);
	store(DRIVER_FEATURES_SELECT, 0);
	store(DRIVER_FEATURES, 0);
	store(DRIVER_FEATURES_SELECT, 1);
	store(DRIVER_FEATURES, 1); // VIRTIO_F_VERSION_1
	store(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	if (!(load(STATUS) & FEATURES_OK))
		fail("FEATURES_OK");
	store(QUEUE_SELECT, 0);
	store(QUEUE_NUM, QUEUE_SIZE);
	store_address(QUEUE_DESC, ADDRESS(descriptors));
	store_address(QUEUE_DRIVER, ADDRESS(available));
	store_address(QUEUE_DEVICE, ADDRESS(used));
	store(QUEUE_READY, 1);
	store(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

static void ask(const char *text)
{
	size_t length = strnlen(text, sizeof shared->question);
	uint16_t index = shared->used.index;
	memcpy((void *)shared->question, text, length);
	shared->descriptors[0] = (struct descriptor){ADDRESS(question), length, NEXT, 1};
	shared->descriptors[1] = (struct descriptor){ADDRESS(answer), length, WRITE, 0};
	shared->available.ring[shared->available.index % QUEUE_SIZE] = 0;
	fence();
	shared->available.index++;
	fence();
	store(QUEUE_NOTIFY, 0);
	while (shared->used.index == index) {
		if (load(STATUS) & NEEDS_RESET) {
			errno = EIO;
			fail("the device needs a reset");
		}
		usleep(100);
	}
	fence();
	printf("virtiotalk: %s -> %.*s\n", text, (int)shared->used.ring[index % QUEUE_SIZE].length, (char *)shared->answer);
}

int main(int count, char **words)
{
	int first = getpid() == 1;
	if (first) {
		mkdir("/proc", 0755);
		mkdir("/dev", 0755);
		mount("proc", "/proc", "proc", 0, NULL);
		mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	find_device();
	get_page();
	start();
	for (int index = 1; index < count; index++)
		ask(words[index]);
	if (count < 2 || first) {
		ask("stressed");
		ask("asyncemu");
	}
	printf("virtiotalk: the device counts %u requests\n", load(CONFIG + 8));
	store(STATUS, 0);
	if (first) {
		fflush(stdout);
		tcdrain(STDOUT_FILENO); // the kernel prints its last words behind ours
		reboot(RB_POWER_OFF);
	}
	return 0;
}
