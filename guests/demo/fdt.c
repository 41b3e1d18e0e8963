// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reads the device tree, the firmware's description of the machine, in its flattened form.
// Chapters are those of the Devicetree Specification 0.4.
#include "demo.h"

enum { FDT_MAGIC = 0xd00dfeed, FDT_BEGIN_NODE = 1, FDT_END_NODE = 2, FDT_PROP = 3, FDT_NOP = 4 };

// "Header": eight of its ten fields, all big-endian.
struct header {
    uint32_t magic, total_size, structure, strings, reservations, version, last_compatible, boot_hart;
    uint32_t strings_size, structure_size;
};

// A property's value: big-endian 32-bit cells.
struct property {
    const uint32_t *cells;  // NULL: there is no such property
    uint32_t count;
};

static const uint32_t *structure, *structure_end;
static const char *strings;
static uint32_t strings_size;

static uint32_t big_endian(uint32_t value) {
    return value >> 24 | (value >> 8 & 0xff00) | (value & 0xff00) << 8 | value << 24;
}

bool fdt_open(const void *blob) {
    const struct header *header = blob;
    if (blob == NULL || (uintptr_t)blob % 8 != 0 || big_endian(header->magic) != FDT_MAGIC)
        return false;
    structure = (const uint32_t *)((const char *)blob + big_endian(header->structure));
    structure_end = structure + big_endian(header->structure_size) / 4;
    strings = (const char *)blob + big_endian(header->strings);
    strings_size = big_endian(header->strings_size);
    return true;
}

static bool same(const char *a, const char *b) {
    for (; *a == *b && *a != '\0'; a++, b++)
        ;
    return *a == *b;
}

// Node names end in their address ("memory@80000000"), which we do not want to know beforehand.
static bool node_is(const char *node, const char *name) {
    for (; *node == *name && *name != '\0'; node++, name++)
        ;
    return *name == '\0' && (*node == '\0' || *node == '@');
}

// Finds a property of the root node (`node` is "") or of one of its children. The structure block is a flat list of
// tokens, each a cell and what belongs to it; the nodes' nesting is that of their begin and end tokens.
static struct property find(const char *node, const char *name) {
    unsigned depth = 0;  // 1: in the root node, 2: in a child of it
    bool inside = false;
    for (const uint32_t *token = structure; token < structure_end;) {
        switch (big_endian(*token++)) {
        case FDT_BEGIN_NODE: {
            const char *this_node = (const char *)token;
            depth++;
            inside = depth <= 2 && node_is(this_node, node) && (depth == 2) == (*node != '\0');
            // The name and its final 0 fill whole cells: the first cell with a 0 in its last byte is the last one.
            while (token < structure_end && big_endian(*token++) & 0xff)
                ;
            break;
        }
        case FDT_PROP: {
            if (structure_end - token < 2)
                return (struct property){NULL, 0};
            uint32_t length = big_endian(token[0]), name_at = big_endian(token[1]);
            token += 2;
            uint64_t cells = ((uint64_t)length + 3) / 4;
            if (cells > (uint64_t)(structure_end - token) || name_at >= strings_size)
                return (struct property){NULL, 0};
            if (inside && same(strings + name_at, name))
                return (struct property){token, length / 4};
            token += cells;
            break;
        }
        case FDT_END_NODE:
            inside = false;  // a node's properties come before its children
            depth--;
            break;
        case FDT_NOP:
            break;
        default:  // FDT_END
            return (struct property){NULL, 0};
        }
    }
    return (struct property){NULL, 0};
}

static uint64_t number(struct property property, uint32_t first, uint32_t cells) {
    uint64_t value = 0;
    for (uint32_t i = first; i < first + cells && i < property.count; i++)
        value = value << 32 | big_endian(property.cells[i]);
    return value;
}

// The first range of "/memory" ("/memory node"); how many cells its address and size have says the root node.
struct memory fdt_memory(void) {
    uint32_t address_cells = number(find("", "#address-cells"), 0, 1);
    uint32_t size_cells = number(find("", "#size-cells"), 0, 1);
    struct property range = find("memory", "reg");
    return (struct memory){number(range, 0, address_cells), number(range, address_cells, size_cells)};
}

// How fast the time CSR counts ("/cpus Node Properties").
uint64_t fdt_timebase_frequency(void) {
    struct property frequency = find("cpus", "timebase-frequency");
    return number(frequency, 0, frequency.count);
}
