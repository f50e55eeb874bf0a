/* Reads a packed network of mpnas and runs it with integers: the reference for other readers. C99.
 *
 * The file is told in mpnas/export/container.py and mpnas/export/pack.py. It stays where it is in memory;
 * everything else lives in one arena that the caller gives, and nothing is allocated. The reader checks
 * what the file says before it follows it: no file makes it read or write out of bounds. That no sum leaves
 * 32 bits was shown when the file was made; in a file made by others such sums wrap around.
 *
 *     mpnas_net net;
 *     if (mpnas_open(&net, file, size, arena, arena_size) == MPNAS_OK)
 *         status = mpnas_run(&net, input, output);
 */
#ifndef MPNAS_PACKED_H
#define MPNAS_PACKED_H

#include <stddef.h>
#include <stdint.h>

#define MPNAS_RANK 8 /* axes of a tensor or a kernel, at most */

typedef enum {
    MPNAS_OK,
    MPNAS_FOREIGN,   /* does not start as a packed network */
    MPNAS_NEWER,     /* a version that this reader does not know */
    MPNAS_TRUNCATED, /* shorter or longer than its header says */
    MPNAS_DAMAGED,   /* a checksum fails, or the file contradicts itself */
    MPNAS_ARENA      /* the arena is too small; try a larger one */
} mpnas_status;

typedef enum { MPNAS_REAL, MPNAS_CODE, MPNAS_SUM } mpnas_kind;

typedef struct {
    mpnas_kind kind;
    uint32_t rank, dims[MPNAS_RANK], channels;
    size_t count; /* numbers in it */
    int bits, is_signed, midrise, written;
    int64_t zero_point;
    uint32_t scales; /* 1 or channels */
    const double *scale;
    union {
        int32_t *integers;
        float *reals;
    } data;
} mpnas_tensor;

typedef struct {
    uint32_t rank, dims[MPNAS_RANK], out, decisions, slots;
    size_t each; /* codes of one output channel */
    int flags;
    const int64_t *midrise, *decision, *slot, *bias;
    int64_t *bits, *zero_point, *word;
    int32_t *codes; /* (out, each) */
} mpnas_layer;

typedef struct {
    uint32_t count;
    const int64_t *at;
} mpnas_vector; /* one number for all channels, or one for each */

typedef struct {
    uint32_t size, stride, before, after, dilation;
} mpnas_axis;

typedef struct {
    int kind;
    uint32_t inputs, output;
    const uint32_t *input;
    uint32_t axes, groups;
    mpnas_axis axis[MPNAS_RANK];
    const mpnas_layer *layer;
    mpnas_vector bias, zero_point, multiplier, shift, offset, low, high;
    int rounding, left_shift, is_sum;
    int right_shift; /* of a product, or of a table: 2^right_shift numbers from one entry to the next */
    int64_t zero_in, zero_out, start, last; /* start and last: the first and last number told apart */
    mpnas_vector entries;
} mpnas_op;

typedef struct {
    uint32_t tensors, ops, layers, input, output;
    mpnas_tensor *tensor;
    mpnas_op *op;
    mpnas_layer *layer;
    size_t used; /* bytes of the arena */
} mpnas_net;

/* Reads a file of `size` bytes; both it and the arena (of any alignment) must outlive the network. */
mpnas_status mpnas_open(mpnas_net *net, const void *file, size_t size, void *arena, size_t arena_size);

/* Runs one input, net->tensor[net->input].count floats with channels last; the output likewise. */
mpnas_status mpnas_run(mpnas_net *net, const float *input, float *output);

/* A sentence for a status. */
const char *mpnas_words(mpnas_status status);

#endif
