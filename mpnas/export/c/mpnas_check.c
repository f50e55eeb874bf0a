/* Checks of operations: kinds, shapes and windows, so that running one stays within its tensors. */

#include "mpnas_internal.h"

int mpnas_window_fits(const mpnas_op *op, const mpnas_tensor *in, const mpnas_tensor *out) {
    if (in->rank != op->axes + 1 || out->rank != in->rank) return 0;
    for (uint32_t a = 0; a < op->axes; a++) {
        const mpnas_axis *axis = &op->axis[a];
        uint64_t reach = (uint64_t)(axis->size - 1) * axis->dilation + 1;
        uint64_t length = (uint64_t)in->dims[a] + axis->before + axis->after;
        if (length < reach || (length - reach) / axis->stride + 1 != out->dims[a]) return 0;
    }
    return 1;
}

/* Whether the first `count` axes are equally long. */
static int same_axes(const mpnas_tensor *a, const mpnas_tensor *b, uint32_t count) {
    if (a->rank != b->rank || a->rank < count) return 0;
    for (uint32_t k = 0; k < count; k++)
        if (a->dims[k] != b->dims[k]) return 0;
    return 1;
}

static int contraction_fits(const mpnas_op *op, const mpnas_tensor *in, const mpnas_tensor *out) {
    const mpnas_layer *layer = op->layer;
    if (in->kind != MPNAS_CODE || out->kind != MPNAS_SUM || op->groups == 0) return 0;
    if (layer->rank != op->axes + 2 || out->channels != layer->out || layer->out % op->groups) return 0;
    if ((uint64_t)layer->dims[layer->rank - 2] * op->groups != in->channels || in->rank == 0) return 0;
    return op->axes ? mpnas_window_fits(op, in, out) : same_axes(in, out, in->rank - 1);
}

static int concat_fits(const mpnas_net *net, const mpnas_op *op, const mpnas_tensor *out) {
    uint64_t channels = 0;
    if (out->rank == 0) return 0;
    for (uint32_t k = 0; k < op->inputs; k++) {
        const mpnas_tensor *in = &net->tensor[op->input[k]];
        if (in->kind == MPNAS_REAL || !same_axes(in, out, out->rank - 1)) return 0;
        channels += in->channels;
    }
    return channels == out->channels;
}

static int add_fits(const mpnas_net *net, const mpnas_op *op, const mpnas_tensor *out) {
    for (uint32_t k = 0; k < op->inputs; k++) {
        const mpnas_tensor *in = &net->tensor[op->input[k]];
        if (in->kind != MPNAS_SUM || !same_axes(in, out, out->rank)) return 0;
    }
    return out->kind == MPNAS_SUM;
}

/* Two factors that are equally long along each axis, or one of them has length 1. */
static int multiply_fits(const mpnas_net *net, const mpnas_op *op, const mpnas_tensor *out) {
    const mpnas_tensor *a = &net->tensor[op->input[0]], *b = &net->tensor[op->input[1]];
    if (a->kind != MPNAS_SUM || b->kind != MPNAS_SUM || out->kind != MPNAS_SUM) return 0;
    if (a->rank != out->rank || b->rank != out->rank || a->zero_point || b->zero_point) return 0;
    for (uint32_t k = 0; k < out->rank; k++) {
        if (a->dims[k] != b->dims[k] && a->dims[k] != 1 && b->dims[k] != 1) return 0;
        if (out->dims[k] != (a->dims[k] == 1 ? b->dims[k] : a->dims[k])) return 0;
    }
    return 1;
}

int mpnas_op_fits(const mpnas_net *net, const mpnas_op *op) {
    const mpnas_tensor *in = &net->tensor[op->input[0]], *out = &net->tensor[op->output];
    int same = same_axes(in, out, out->rank);
    int to_integers = in->kind != MPNAS_REAL && out->kind != MPNAS_REAL;
    if (op->inputs != (op->kind == MULTIPLY ? 2 : 1) && op->kind != ADD && op->kind != CONCAT) return 0;
    switch (op->kind) {
    case QUANTISE: return same && in->kind == MPNAS_REAL && out->kind == MPNAS_CODE;
    case CONTRACTION: return contraction_fits(op, in, out);
    case REQUANTISE: return same && to_integers;
    case ADD: return add_fits(net, op, out);
    case CONCAT: return out->kind != MPNAS_REAL && concat_fits(net, op, out);
    case POOL: return to_integers && in->channels == out->channels && mpnas_window_fits(op, in, out);
    case RESHAPE: return in->count == out->count && (in->kind == MPNAS_REAL) == (out->kind == MPNAS_REAL);
    case MULTIPLY: return multiply_fits(net, op, out);
    case TABLE: return same && in->kind == MPNAS_SUM && out->kind == MPNAS_SUM;
    default: return same && in->kind != MPNAS_REAL && out->kind == MPNAS_REAL;
    }
}
