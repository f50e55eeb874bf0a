/* What the parts of the reader share: fields of the graph section, and numbers of the weights section. */
#ifndef MPNAS_READER_H
#define MPNAS_READER_H

#include "mpnas_internal.h"

enum { MANY = 1 << 20 };

typedef struct {
    const uint8_t *fields, *fields_end; /* of the graph section */
    const uint8_t *weights;
    uint64_t bit, bits; /* next bit of the weights section, and its length */
    uint8_t *arena, *arena_end;
    mpnas_status status; /* the first thing that went wrong */
} reader;

/* Notes the first thing that went wrong; 0. Everything below does so where the file holds no such thing. */
int mpnas_fail(reader *r, mpnas_status status);

/* Zeroed room in the arena; NULL if it has none. */
void *mpnas_take(reader *r, uint64_t count, size_t size);

/* A number below a limit, one with a sign, and a text that is skipped. */
uint64_t mpnas_whole(reader *r, uint64_t limit);
int64_t mpnas_integer(reader *r);
void mpnas_text(reader *r);

/* Vectors: of any integers, of `count` integers from `low` to `high`, of reals (their count). */
mpnas_vector mpnas_integers(reader *r);
const int64_t *mpnas_integers_of(reader *r, uint32_t count, int64_t low, int64_t high);
uint32_t mpnas_reals(reader *r, const double **where);

/* Axes, none of them empty, and how many numbers they span. */
uint64_t mpnas_shape(reader *r, uint32_t *rank, uint32_t *dims);

/* Numbers of 1 to 64 bits at any bit of some bytes, and what they are in two's complement. */
uint64_t mpnas_bits_at(const uint8_t *data, uint64_t at, unsigned width);
int64_t mpnas_as_signed(uint64_t value, unsigned width);
float mpnas_as_float(int64_t word);

/* What is counted of a quantised input. */
typedef struct {
    int bits, shifted;
    double scale;
    int64_t zero_point;
} quantised_input;

/* Layers with their weights, and the quantised inputs. */
quantised_input *mpnas_read_weights(reader *r, mpnas_net *net, uint32_t *inputs);

#endif
