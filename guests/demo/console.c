// SPDX-License-Identifier: GPL-2.0-or-later
//
// Text output: a small printf on the virtio-console (virtio 1.2, 5.3), or on the firmware's console without one.
#include "virtio.h"

// 5.3.2 "Virtqueues". Without the feature MULTIPORT there is one port, and these two queues are all.
enum { RECEIVE_QUEUE, TRANSMIT_QUEUE };

static struct queue receive, transmit;
static unsigned slot;
static bool is_up, is_panicking;

static char line[128];
static size_t length;

static void on_interrupt(void) {
    virtio_acknowledge(slot);  // that it woke us is all we wanted: flush() looks at the queue
}

// False: there is no virtio-console. The receive queue gets no buffers, since we take no input.
bool console_init(void) {
    int found = virtio_find(VIRTIO_CONSOLE);
    if (found < 0)
        return false;
    slot = found;
    virtio_start(slot, 0);
    virtio_queue_init(&receive, slot, RECEIVE_QUEUE);
    virtio_queue_init(&transmit, slot, TRANSMIT_QUEUE);
    virtio_driver_ok(slot, on_interrupt);
    is_up = true;
    return true;
}

// From now on nothing that can fail may stand between the message and its reader: no interrupts, no endless waiting.
void console_panic(void) {
    is_panicking = true;
}

// Waits as long as it takes for the reader at the other end; a second at most in a panic. True: the text is out.
static bool wait_until_sent(void) {
    uint64_t give_up = now() + ticks_per_second;
    while (!virtio_all_used(&transmit)) {
        if (!is_panicking)
            sleep_until_interrupt();
        else if (now() > give_up)
            return false;
    }
    return true;
}

static void flush(void) {
    size_t count = length;
    length = 0;
    if (count == 0)
        return;
    if (!is_up || !wait_until_sent()) {
        sbi_write(line, count);
        return;
    }
    transmit.descriptors[0] = (struct descriptor){.address = (uintptr_t)line, .length = count};
    virtio_offer(&transmit, 0);
    virtio_notify(&transmit);
    if (!wait_until_sent())
        sbi_write(line, count);
}

static void put(char c) {
    if (c == '\n')
        put('\r');  // a terminal wants both, as at the end of any tty line
    line[length++] = c;
    if (length == sizeof line || c == '\n')
        flush();
}

static void put_number(uint64_t value, unsigned base, unsigned width) {
    char digits[20];  // of 2^64 - 1
    unsigned count = 0;
    do
        digits[count++] = "0123456789abcdef"[value % base];
    while ((value /= base) != 0);
    for (; width > count; width--)
        put(' ');
    while (count > 0)
        put(digits[--count]);
}

// Of printf's conversions: %s, %u, %lu, %lx, and a width of one digit before the numbers.
void print_arguments(const char *format, __builtin_va_list arguments) {
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        unsigned width = 0;
        bool is_long = false;
        format++;
        if (*format >= '0' && *format <= '9')
            width = *format++ - '0';
        if (*format == 'l') {
            is_long = true;
            format++;
        }
        if (*format == 's') {
            for (const char *text = __builtin_va_arg(arguments, const char *); *text != '\0'; text++)
                put(*text);
        } else {
            uint64_t value = is_long ? __builtin_va_arg(arguments, uint64_t) : __builtin_va_arg(arguments, unsigned);
            put_number(value, *format == 'x' ? 16 : 10, width);
        }
    }
}

void print(const char *format, ...) {
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    print_arguments(format, arguments);
    __builtin_va_end(arguments);
}
