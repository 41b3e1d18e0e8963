// What small guest programs need without a libc: system calls, text, time, percentiles. Include it once.
// They add a few KiB to the initrd, and need only the compiler to be built. A program defines `run`.

typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned short u16;
struct timespec { long seconds, nanoseconds; };

// Linux, include/uapi/asm-generic/unistd.h, riscv64 values.
enum { SYS_write = 64, SYS_exit = 93, SYS_clock_gettime = 113 };
enum { CLOCK_MONOTONIC = 1 };

static long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	register long a0 asm("a0") = a, a1 asm("a1") = b, a2 asm("a2") = c, a3 asm("a3") = d, a4 asm("a4") = e;
	register long a5 asm("a5") = f, a7 asm("a7") = number;
	asm volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7) : "memory");
	return a0;
}

static long syscall4(long number, long a, long b, long c, long d)
{
	return syscall6(number, a, b, c, d, 0, 0);
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

__attribute__((noreturn)) static void fail(const char *message)
{
	text(message);
	leave(1);
}

static u64 now(void)
{
	struct timespec time;
	syscall4(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&time, 0, 0);
	return (u64)time.seconds * 1000000000 + (u64)time.nanoseconds;
}

static void sort(u64 *values, int count) // Shell sort: short, and fast enough for 131,072 values
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

static u64 number(const char *digits, u64 limit) // 0 for what is none, or is above the limit
{
	u64 value = 0;
	for (; *digits; digits++)
		if (*digits < '0' || *digits > '9' || (value = value * 10 + *digits - '0') > limit)
			return 0;
	return value;
}

__attribute__((noreturn, used)) static void run(const long *stack); // argc, then argv

// The stack pointer at entry points at argc (RISC-V ELF psABI, "Program startup"); gp is unused: no relaxation.
asm(".globl _start\n_start:\n\tmv a0, sp\n\ttail run\n");
