/* Fields of the graph section: numbers, texts, vectors, shapes, each within the bytes that there are. */

#include "mpnas_reader.h"

#include <string.h>

enum { LONGEST_TEXT = 4096, MOST = 1 << 28 }; /* numbers in a tensor: also 32 bits can count their bytes */

int mpnas_fail(reader *r, mpnas_status status) {
    if (r->status == MPNAS_OK) r->status = status;
    return 0;
}

void *mpnas_take(reader *r, uint64_t count, size_t size) {
    uint8_t *start = r->arena + (0 - (uintptr_t)r->arena) % 8;
    if (start > r->arena_end || count > (uint64_t)(r->arena_end - start) / size) {
        mpnas_fail(r, MPNAS_ARENA);
        return NULL;
    }
    r->arena = start + (size_t)count * size;
    return memset(start, 0, (size_t)count * size);
}

uint64_t mpnas_whole(reader *r, uint64_t limit) {
    uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
        if (r->fields == r->fields_end) break;
        value |= (uint64_t)(*r->fields & 0x7F) << shift;
        if (*r->fields++ < 0x80) {
            if (value < limit) return value;
            break;
        }
    }
    mpnas_fail(r, MPNAS_DAMAGED);
    return 0;
}

int64_t mpnas_integer(reader *r) {
    uint64_t value = mpnas_whole(r, (uint64_t)1 << 33);
    return value % 2 ? -(int64_t)((value + 1) / 2) : (int64_t)(value / 2);
}

static const uint8_t *bytes(reader *r, uint64_t count) {
    const uint8_t *start = r->fields;
    if (count > (uint64_t)(r->fields_end - start)) {
        mpnas_fail(r, MPNAS_DAMAGED);
        return NULL;
    }
    r->fields += count;
    return start;
}

void mpnas_text(reader *r) { bytes(r, mpnas_whole(r, LONGEST_TEXT + 1)); }

uint64_t mpnas_bits_at(const uint8_t *data, uint64_t at, unsigned width) {
    uint64_t value = 0;
    for (unsigned k = 0; k < width; k++)
        value |= (uint64_t)(data[(at + k) / 8] >> (at + k) % 8 & 1) << k;
    return value;
}

int64_t mpnas_as_signed(uint64_t value, unsigned width) {
    uint64_t sign = (uint64_t)1 << (width - 1);
    return value & sign ? -(int64_t)((~value & (sign - 1))) - 1 : (int64_t)value;
}

mpnas_vector mpnas_integers(reader *r) {
    uint32_t count = (uint32_t)mpnas_whole(r, (uint64_t)1 << 31);
    unsigned width = (unsigned)mpnas_whole(r, 65);
    const uint8_t *data = bytes(r, ((uint64_t)count * width + 7) / 8);
    int64_t *at = NULL;
    mpnas_vector none = {0, NULL}, found;
    if (width == 0) mpnas_fail(r, MPNAS_DAMAGED);
    if (r->status == MPNAS_OK) at = mpnas_take(r, count, sizeof *at);
    if (at == NULL) return none;
    for (uint32_t k = 0; k < count; k++)
        at[k] = mpnas_as_signed(mpnas_bits_at(data, (uint64_t)k * width, width), width);
    found.count = count;
    found.at = at;
    return found;
}

/* A vector whose length and numbers are limited. */
const int64_t *mpnas_integers_of(reader *r, uint32_t count, int64_t low, int64_t high) {
    mpnas_vector found = mpnas_integers(r);
    if (found.count != count) mpnas_fail(r, MPNAS_DAMAGED);
    for (uint32_t k = 0; k < found.count; k++)
        if (found.at[k] < low || found.at[k] > high) mpnas_fail(r, MPNAS_DAMAGED);
    return found.at;
}

static double real(const uint8_t *data) {
    uint64_t word = mpnas_bits_at(data, 0, 64);
    double value;
    memcpy(&value, &word, sizeof value);
    return value;
}

uint32_t mpnas_reals(reader *r, const double **where) {
    uint64_t different = mpnas_whole(r, (uint64_t)1 << 31);
    const uint8_t *data = bytes(r, 8 * different);
    mpnas_vector index = mpnas_integers(r);
    double *at = r->status == MPNAS_OK ? mpnas_take(r, index.count, sizeof *at) : NULL;
    *where = at;
    if (at == NULL) return 0;
    for (uint32_t k = 0; k < index.count; k++) {
        if (index.at[k] < 0 || (uint64_t)index.at[k] >= different)
            return (uint32_t)mpnas_fail(r, MPNAS_DAMAGED);
        at[k] = real(data + 8 * index.at[k]);
    }
    return index.count;
}

/* Axes, and how many numbers they span; 0 if that is more than memory has. */
uint64_t mpnas_shape(reader *r, uint32_t *rank, uint32_t *dims) {
    uint64_t count = 1;
    *rank = (uint32_t)mpnas_whole(r, MPNAS_RANK + 1);
    for (uint32_t k = 0; k < *rank; k++) {
        dims[k] = (uint32_t)mpnas_whole(r, (uint64_t)1 << 31);
        if (dims[k] == 0 || count > MOST / dims[k]) mpnas_fail(r, MPNAS_DAMAGED);
        count *= r->status == MPNAS_OK ? dims[k] : 0;
    }
    return count;
}
