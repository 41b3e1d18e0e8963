// Latency of 4 KiB random reads from a block device at queue depth 1, past the guest's page cache.
// Freestanding (no libc), so that it adds a few KiB to the initrd and needs only the compiler to build.
// Usage: blockbench DEVICE

#define READS 2000
#define WARM_UP 200
#define BLOCK 4096

// Linux, include/uapi/asm-generic/{unistd,fcntl}.h and include/uapi/linux/{fs,time}.h, riscv64 values.
enum { SYS_ioctl = 29, SYS_openat = 56, SYS_write = 64, SYS_pread64 = 67, SYS_exit = 93, SYS_clock_gettime = 113 };
enum { AT_FDCWD = -100, O_RDONLY = 0, O_DIRECT = 040000, CLOCK_MONOTONIC = 1 };
static const unsigned long BLKGETSIZE64 = 0x80081272;

typedef unsigned long u64;
struct timespec { long seconds, nanoseconds; };

static unsigned char block[BLOCK] __attribute__((aligned(BLOCK)));
static u64 samples[READS];

static long syscall4(long number, long a, long b, long c, long d)
{
	register long a0 asm("a0") = a, a1 asm("a1") = b, a2 asm("a2") = c, a3 asm("a3") = d, a7 asm("a7") = number;
	asm volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a7) : "memory");
	return a0;
}

static void text(const char *string)
{
	long length = 0;
	while (string[length])
		length++;
	syscall4(SYS_write, 1, (long)string, length, 0);
}

static char *append(char *end, const char *label, u64 value)
{
	char digits[20];
	int count = 0;
	while (*label)
		*end++ = *label++;
	do
		digits[count++] = '0' + value % 10;
	while (value /= 10);
	while (count)
		*end++ = digits[--count];
	return end;
}

__attribute__((noreturn)) static void leave(int status)
{
	for (;;)
		syscall4(SYS_exit, status, 0, 0, 0);
}

static u64 now(void)
{
	struct timespec time;
	syscall4(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&time, 0, 0);
	return (u64)time.seconds * 1000000000 + (u64)time.nanoseconds;
}

static u64 next_random(void) // xorshift64 (Marsaglia 2003); the fixed seed gives each run the same blocks
{
	static u64 state = 88172645463325252;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void sort(u64 *values, int count) // Shell sort: short, and fast enough for 2,000 values
{
	for (int gap = count / 2; gap > 0; gap /= 2)
		for (int i = gap; i < count; i++) {
			u64 value = values[i];
			int j = i;
			for (; j >= gap && values[j - gap] > value; j -= gap)
				values[j] = values[j - gap];
			values[j] = value;
		}
}

__attribute__((noreturn, used)) static void run(const long *stack)
{
	const char *path = (const char *)stack[2]; // argc, argv[0], argv[1]
	u64 size = 0, total = 0;
	char line[160], *end = line;

	if (stack[0] != 2) {
		text("blockbench: usage: blockbench DEVICE\n");
		leave(2);
	}
	long fd = syscall4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_DIRECT, 0);
	if (fd < 0 || syscall4(SYS_ioctl, fd, (long)BLKGETSIZE64, (long)&size, 0) < 0 || size < BLOCK) {
		text("blockbench: cannot open the block device\n");
		leave(1);
	}
	for (int i = -WARM_UP; i < READS; i++) {
		long offset = (long)(next_random() % (size / BLOCK) * BLOCK);
		u64 start = now();
		if (syscall4(SYS_pread64, fd, (long)block, BLOCK, offset) != BLOCK) {
			text("blockbench: a read failed\n");
			leave(1);
		}
		if (i >= 0)
			total += samples[i] = now() - start;
	}
	sort(samples, READS);
	end = append(end, "blockbench: reads=", READS);
	end = append(end, " median_ns=", samples[READS / 2]);
	end = append(end, " p99_ns=", samples[READS * 99 / 100]);
	end = append(end, " mean_ns=", total / READS);
	*end++ = '\n';
	syscall4(SYS_write, 1, (long)line, end - line, 0);
	leave(0);
}

// The stack pointer at entry points at argc (RISC-V ELF psABI, "Program startup"); gp is unused: no relaxation.
asm(".globl _start\n_start:\n\tmv a0, sp\n\ttail run\n");
