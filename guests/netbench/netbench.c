// What a network does for a guest: throughput, round trips, connections. The other side is benchmarks/net_server.py.
// Usage: netbench MODE ADDRESS PORT COUNT
//        tcp-send, tcp-receive   COUNT bytes
//        tcp-rr, udp-rr          COUNT round trips of one byte, one after the other
//        connect                 COUNT connections one after the other, each with one byte back
//        concurrent              COUNT connections at the same time, each with three messages there and back

#include "../freestanding.h"

#define MAX_SAMPLES (1 << 16)
#define MAX_CONNECTIONS 4000
#define ROUNDS 3 // of messages on each concurrent connection
#define PIECE (1 << 16)
#define PATIENCE 10 // seconds for any one answer; a lost datagram is given up after one

// Linux, include/uapi/asm-generic/{unistd,socket}.h, include/uapi/linux/{in,tcp,resource}.h, riscv64 values.
enum { SYS_close = 57, SYS_socket = 198, SYS_connect = 203, SYS_sendto = 206, SYS_recvfrom = 207 };
enum { SYS_setsockopt = 208, SYS_prlimit64 = 261 };
enum { AF_INET = 2, SOCK_STREAM = 1, SOCK_DGRAM = 2, IPPROTO_TCP = 6, TCP_NODELAY = 1, MSG_NOSIGNAL = 0x4000 };
enum { SOL_SOCKET = 1, SO_RCVTIMEO = 20, SO_SNDTIMEO = 21, RLIMIT_NOFILE = 7 };

struct address { u16 family, port; u32 host; u64 zero; };
struct order { u64 kind, count; }; // what the server is to do with a connection
enum { SINK = 1, SOURCE, ECHO, GREET };

static unsigned char piece[PIECE];
static u64 samples[MAX_SAMPLES];
static int connections[MAX_CONNECTIONS];
static struct address server;
static u64 failed;

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static int parse_address(const char *dotted) // into `server`, in network order; 0 when it is none
{
	unsigned char *bytes = (unsigned char *)&server.host;
	for (int i = 0; i < 4; i++) {
		char part[4];
		int length = 0;
		while (*dotted >= '0' && *dotted <= '9' && length < 3)
			part[length++] = *dotted++;
		part[length] = 0;
		if (!length || number(part, 999) > 255 || *dotted != (i < 3 ? '.' : 0))
			return 0;
		bytes[i] = number(part, 999);
		dotted++;
	}
	return 1;
}

static long transmit(int fd, const void *data, long length) // all of it; 0 when that is impossible
{
	const char *rest = data;
	for (long done; length > 0; rest += done, length -= done)
		if ((done = syscall6(SYS_sendto, fd, (long)rest, length, MSG_NOSIGNAL, 0, 0)) <= 0)
			return 0;
	return 1;
}

static long receive(int fd, void *data, long length) // as much as is there; 0 at the end, negative for an error
{
	return syscall6(SYS_recvfrom, fd, (long)data, length, 0, 0, 0);
}

static int receive_all(int fd, void *data, long length)
{
	char *rest = data;
	for (long done; length > 0; rest += done, length -= done)
		if ((done = receive(fd, rest, length)) <= 0)
			return 0;
	return 1;
}

static int open_socket(int type, long seconds) // connected to the server; negative when that fails
{
	long time[2] = { seconds, 0 };
	int one = 1;
	int fd = syscall4(SYS_socket, AF_INET, type, 0, 0);
	if (fd < 0)
		return fd;
	syscall6(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, (long)time, sizeof time, 0);
	syscall6(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, (long)time, sizeof time, 0);
	if (type == SOCK_STREAM)
		syscall6(SYS_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, (long)&one, sizeof one, 0);
	if (syscall4(SYS_connect, fd, (long)&server, 16, 0) < 0) {
		syscall4(SYS_close, fd, 0, 0, 0);
		return -1;
	}
	return fd;
}

static int order(u64 kind, u64 count) // a connection that does that; negative when that fails
{
	struct order what = { kind, count };
	int fd = open_socket(SOCK_STREAM, PATIENCE);
	if (fd >= 0 && !transmit(fd, &what, sizeof what)) {
		syscall4(SYS_close, fd, 0, 0, 0);
		return -1;
	}
	return fd;
}

static int must(int fd)
{
	if (fd < 0)
		fail("netbench: cannot connect\n");
	return fd;
}

static u64 tcp_send(u64 count) // ns until the server has said that it has all
{
	int fd = must(order(SINK, count));
	u64 start = now();
	for (u64 left = count; left; left -= left < PIECE ? left : PIECE)
		if (!transmit(fd, piece, left < PIECE ? left : PIECE))
			fail("netbench: cannot send\n");
	if (!receive_all(fd, piece, 1))
		fail("netbench: the server does not say that it has all\n");
	return now() - start;
}

static u64 tcp_receive(u64 count)
{
	int fd = must(order(SOURCE, count));
	u64 start = now();
	long done;
	for (u64 left = count; left; left -= done)
		if ((done = receive(fd, piece, left < PIECE ? left : PIECE)) <= 0)
			fail("netbench: the server's bytes ended early\n");
	return now() - start;
}

static u64 round_trips(int fd, u64 count)
{
	u64 begin = now(), start = begin;
	for (u64 i = 0; i < count; i++) {
		unsigned char out = i, in = ~i;
		if (!transmit(fd, &out, 1) || receive(fd, &in, 1) != 1 || in != out)
			failed++;
		u64 end = now(); // a system call, as there is no vDSO here: only one for each
		samples[i] = end - start;
		start = end;
	}
	return start - begin;
}

static u64 connect_often(u64 count)
{
	u64 begin = now();
	for (u64 i = 0; i < count; i++) {
		u64 start = now();
		int fd = order(GREET, 0);
		if (fd < 0 || !receive_all(fd, piece, 1) || receive(fd, piece, 1) != 0)
			failed++;
		if (fd >= 0)
			syscall4(SYS_close, fd, 0, 0, 0);
		samples[i] = now() - start;
	}
	return now() - begin;
}

static u64 connect_many(u64 count)
{
	u64 limit[2] = { MAX_CONNECTIONS + 16, MAX_CONNECTIONS + 16 }, begin = now();
	syscall4(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)limit, 0);
	for (u64 i = 0; i < count; i++)
		connections[i] = order(ECHO, 0);
	for (int round = 0; round < ROUNDS; round++) {
		for (u64 i = 0; i < count; i++) {
			u64 out[2] = { i, round };
			if (connections[i] >= 0 && !transmit(connections[i], out, sizeof out))
				connections[i] = -1;
		}
		for (u64 i = 0; i < count; i++) {
			u64 in[2] = { 0, 0 };
			if (connections[i] < 0)
				continue;
			if (!receive_all(connections[i], in, sizeof in) || in[0] != i || in[1] != (u64)round)
				connections[i] = -1;
		}
	}
	for (u64 i = 0; i < count; i++)
		failed += connections[i] < 0;
	return now() - begin;
}

static void report(const char *mode, u64 count, int sampled, u64 total)
{
	char line[200], *end = line;
	sort(samples, sampled);
	for (const char *from = "netbench: "; *from;)
		*end++ = *from++;
	while (*mode)
		*end++ = *mode++;
	end = append(end, " count=", count);
	end = append(end, " failed=", failed);
	end = append(end, " total_ns=", total);
	end = append(end, " median_ns=", samples[sampled / 2]);
	end = append(end, " p99_ns=", samples[sampled * 99L / 100]);
	*end++ = '\n';
	syscall4(SYS_write, 1, (long)line, end - line, 0);
}

static void run(const long *stack)
{
	const char *const *arguments = (const char *const *)stack + 1, *mode = arguments[1];
	u64 count = 0, port = 0;

	if (stack[0] == 5 && parse_address(arguments[2])) {
		port = number(arguments[3], 65535);
		count = number(arguments[4], 1UL << 40);
	}
	server.family = AF_INET;
	server.port = port >> 8 | port << 8;
	if (!count || !port)
		;
	else if (same(mode, "tcp-send"))
		report(mode, count, 0, tcp_send(count)), leave(0);
	else if (same(mode, "tcp-receive"))
		report(mode, count, 0, tcp_receive(count)), leave(0);
	else if (same(mode, "tcp-rr") && count <= MAX_SAMPLES)
		report(mode, count, count, round_trips(must(order(ECHO, 0)), count)), leave(0);
	else if (same(mode, "udp-rr") && count <= MAX_SAMPLES)
		report(mode, count, count, round_trips(must(open_socket(SOCK_DGRAM, 1)), count)), leave(0);
	else if (same(mode, "connect") && count <= MAX_SAMPLES)
		report(mode, count, count, connect_often(count)), leave(0);
	else if (same(mode, "concurrent") && count <= MAX_CONNECTIONS)
		report(mode, count, 0, connect_many(count)), leave(0);
	text("netbench: usage: netbench tcp-send|tcp-receive|tcp-rr|udp-rr|connect|concurrent ADDRESS PORT COUNT\n");
	leave(2);
}
