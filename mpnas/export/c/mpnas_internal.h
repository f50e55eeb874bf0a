/* What the reader and the executor share. */
#ifndef MPNAS_INTERNAL_H
#define MPNAS_INTERNAL_H

#include "mpnas_packed.h"

enum { QUANTISE, CONTRACTION, REQUANTISE, ADD, CONCAT, POOL, RESHAPE, DEQUANTISE, MULTIPLY, TABLE, KINDS };
enum { SINGLE_ROUND, DOUBLE_ROUND, DYADIC_HALF_UP, SHIFT, ROUNDINGS };
enum { SIGNED = 1, SHIFTED = 2, BIASED = 4, FOLDED = 8 };

/* Smallest and largest code of a tensor as it is stored. */
static inline int64_t lowest_code(const mpnas_tensor *t) {
    return t->is_signed ? -((int64_t)1 << (t->bits - 1)) : 0;
}

static inline int64_t highest_code(const mpnas_tensor *t) {
    return lowest_code(t) + (((int64_t)1 << t->bits) - 1);
}

/* What sliding over axes gives, or 0 if it does not fit. */
int mpnas_window_fits(const mpnas_op *op, const mpnas_tensor *in, const mpnas_tensor *out);

/* Whether the tensors of an operation are what it needs. */
int mpnas_op_fits(const mpnas_net *net, const mpnas_op *op);

#endif
