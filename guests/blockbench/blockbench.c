// Latency of 4 KiB random reads from block devices, past the guest's page cache.
// Usage: blockbench DEVICE             2,000 reads, one after the other
//        blockbench DEPTH DEVICE...    for SECONDS, DEPTH reads at a time on each device, by Linux's native AIO

#include "../freestanding.h"

#define READS 2000
#define WARM_UP 200
#define BLOCK 4096
#define SECONDS 5
#define MAX_DEPTH 64
#define MAX_DEVICES 8
#define MAX_SAMPLES (1 << 17) // more reads than an emulator does in SECONDS; what comes behind is only counted

// Linux, include/uapi/asm-generic/{unistd,fcntl}.h and include/uapi/linux/fs.h, riscv64 values.
enum { SYS_io_setup = 0, SYS_io_submit = 2, SYS_io_getevents = 4 };
enum { SYS_ioctl = 29, SYS_openat = 56, SYS_pread64 = 67 };
enum { AT_FDCWD = -100, O_RDONLY = 0, O_DIRECT = 040000 };
static const unsigned long BLKGETSIZE64 = 0x80081272;

// Linux, include/uapi/linux/aio_abi.h, little endian; an opcode of 0 is IOCB_CMD_PREAD.
struct iocb {
	u64 data;
	unsigned int key, rw_flags;
	unsigned short opcode, priority;
	unsigned int fd;
	u64 buffer, bytes, offset, reserved;
	unsigned int flags, event_fd;
};
struct io_event { u64 data, object; long result, result2; };

static unsigned char blocks[MAX_DEVICES * MAX_DEPTH][BLOCK] __attribute__((aligned(BLOCK)));
static u64 samples[MAX_SAMPLES];
static struct { long fd; u64 size; } devices[MAX_DEVICES];
static struct { struct iocb control; u64 start; int device; } reads[MAX_DEVICES * MAX_DEPTH];
static struct io_event events[MAX_DEVICES * MAX_DEPTH];

static u64 next_random(void) // xorshift64 (Marsaglia 2003); the fixed seed gives each run the same blocks
{
	static u64 state = 88172645463325252;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void open_device(int index, const char *path)
{
	u64 size = 0;
	long fd = syscall4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_DIRECT, 0);
	if (fd < 0 || syscall4(SYS_ioctl, fd, (long)BLKGETSIZE64, (long)&size, 0) < 0 || size < BLOCK)
		fail("blockbench: cannot open the block device\n");
	devices[index].fd = fd;
	devices[index].size = size;
}

static u64 random_offset(int device)
{
	return next_random() % (devices[device].size / BLOCK) * BLOCK;
}

static void report(const char *label, int count, u64 total) // of the first samples
{
	char line[160], *end = append(line, label, count);
	sort(samples, count);
	end = append(end, " median_ns=", samples[count / 2]);
	end = append(end, " p99_ns=", samples[count * 99L / 100]);
	end = append(end, " mean_ns=", total / count);
	*end++ = '\n';
	syscall4(SYS_write, 1, (long)line, end - line, 0);
}

static void one_by_one(void)
{
	u64 total = 0;
	for (int i = -WARM_UP; i < READS; i++) {
		u64 offset = random_offset(0), start = now();
		if (syscall4(SYS_pread64, devices[0].fd, (long)blocks, BLOCK, offset) != BLOCK)
			fail("blockbench: a read failed\n");
		if (i >= 0)
			total += samples[i] = now() - start;
	}
	report("blockbench: reads=", READS, total);
}

static void submit(u64 context, int index)
{
	struct iocb *control = &reads[index].control;
	control->data = index;
	control->fd = devices[reads[index].device].fd;
	control->buffer = (u64)blocks[index];
	control->bytes = BLOCK;
	control->offset = random_offset(reads[index].device);
	reads[index].start = now();
	if (syscall4(SYS_io_submit, context, 1, (long)&control, 0) != 1)
		fail("blockbench: cannot submit a read\n");
}

static void many_at_once(int depth, int count)
{
	u64 context = 0, total = 0, end;
	int done = 0, flying = depth * count;
	if (syscall4(SYS_io_setup, flying, (long)&context, 0, 0) < 0)
		fail("blockbench: the kernel has no native AIO\n");
	text("blockbench: reading\n");
	end = now() + SECONDS * 1000000000UL;
	for (int i = 0; i < flying; i++) {
		reads[i].device = i % count;
		submit(context, i);
	}
	while (flying) {
		long got = syscall6(SYS_io_getevents, context, 1, flying, (long)events, 0, 0);
		if (got < 1)
			fail("blockbench: cannot wait for a read\n");
		u64 time = now();
		for (long i = 0; i < got; i++) {
			u64 latency = time - reads[events[i].data].start;
			if (events[i].result != BLOCK)
				fail("blockbench: a read failed\n");
			if (done < MAX_SAMPLES)
				total += samples[done++] = latency;
			if (time < end)
				submit(context, events[i].data);
			else
				flying--;
		}
	}
	report("blockbench: queued_reads=", done, total);
}

static void run(const long *stack)
{
	long count = stack[0];
	const char *const *arguments = (const char *const *)stack + 1;
	int depth = count > 2 ? (int)number(arguments[1], MAX_DEPTH) : 0;

	if (count == 2) {
		open_device(0, arguments[1]);
		one_by_one();
	} else if (depth >= 1 && count <= 2 + MAX_DEVICES) {
		for (int i = 2; i < count; i++)
			open_device(i - 2, arguments[i]);
		many_at_once(depth, count - 2);
	} else {
		text("blockbench: usage: blockbench DEVICE, or blockbench DEPTH DEVICE...\n");
		leave(2);
	}
	leave(0);
}
