/* Runs a graph of integers, one operation after the other: mpnas/export/integer.py in C. */

#include "mpnas_internal.h"

#include <math.h>
#include <string.h>

/* Arithmetic that wraps around instead of being undefined, for files made by others. */
static int64_t plus(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }

static int64_t times(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }

/* x / 2^shift rounded down: a right shift of negative numbers is not defined in C. */
static int64_t floor_shift(int64_t x, int64_t shift) { return x >= 0 ? x >> shift : ~(~x >> shift); }

static int64_t pick(mpnas_vector v, uint32_t channel) { return v.at[v.count == 1 ? 0 : channel]; }

static int64_t clip(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/* a * b / 2^31 to the nearest whole number: gemmlowp's rounding doubling high product. */
static int64_t high_product(int64_t a, int64_t b) {
    int64_t product = times(a, b), half = (int64_t)1 << 30;
    int64_t nudged = plus(product, product >= 0 ? half : 1 - half);
    uint64_t size = nudged < 0 ? 0 - (uint64_t)nudged : (uint64_t)nudged;
    if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
    return nudged < 0 ? -(int64_t)(size >> 31) : (int64_t)(size >> 31);
}

/* x / 2^shift to the nearest whole number, ties away from zero. */
static int64_t divided_by_power(int64_t x, int64_t shift) {
    uint64_t mask = ((uint64_t)1 << shift) - 1;
    return floor_shift(x, shift) + (((uint64_t)x & mask) > (mask >> 1) + (x < 0));
}

/* x / 2^shift to the nearest whole number, ties to even, or up. */
static int64_t to_nearest(int64_t x, int64_t shift, int to_even) {
    int64_t down = floor_shift(x, shift);
    uint64_t rest = (uint64_t)x & (((uint64_t)1 << shift) - 1), half = ((uint64_t)1 << shift) >> 1;
    if (shift == 0) return down;
    return down + (rest > half || (rest == half && (!to_even || (down & 1))));
}

static void quantise(const mpnas_op *op, const mpnas_tensor *in, mpnas_tensor *out) {
    int64_t low = lowest_code(out), high = highest_code(out);
    float offset = out->midrise ? 0.5f : 0.0f, zero = (float)out->zero_point;
    for (size_t k = 0; k < out->count; k++) {
        uint32_t channel = (uint32_t)(k % out->channels);
        float step = (float)(out->scale[out->scales == 1 ? 0 : channel] * (out->midrise ? 2 : 1));
        float least = step * ((float)low + offset - zero), most = step * ((float)high + offset - zero);
        float x = in->data.reals[k];
        int64_t code = low;
        x = x > least ? x : least; /* NaN becomes the least, too */
        x = x < most ? x : most;
        x = rintf(x / step - offset);
        if (x > -1e9f && x < 1e9f) code = (int64_t)x + out->zero_point;
        code = clip(code, pick(op->low, 0), pick(op->high, 0));
        out->data.integers[k] = (int32_t)(out->midrise ? 2 * code + 1 : code);
    }
}

static void requantise(const mpnas_op *op, const mpnas_tensor *in, mpnas_tensor *out) {
    for (size_t k = 0; k < out->count; k++) {
        uint32_t c = (uint32_t)(k % out->channels);
        int64_t shift = pick(op->shift, c), multiplier = pick(op->multiplier, c);
        int64_t v = times(in->data.integers[k] - op->zero_in, (int64_t)1 << op->left_shift);
        if (op->rounding == DOUBLE_ROUND) {
            v = divided_by_power(high_product(v, multiplier), shift);
        } else if (op->rounding == SHIFT) {
            v = divided_by_power(v, shift);
        } else {
            v = plus(times(v, multiplier), pick(op->offset, c));
            v = to_nearest(v, shift, op->rounding == SINGLE_ROUND);
        }
        v = clip(plus(v, op->zero_out), pick(op->low, c), pick(op->high, c));
        out->data.integers[k] = (int32_t)(out->midrise ? 2 * v + 1 : v);
    }
}

/* The next tuple of numbers below the sizes, the last one fastest; 0 after the last tuple. */
static int next(uint32_t *at, const uint32_t *sizes, uint32_t count) {
    while (count-- > 0) {
        if (++at[count] < sizes[count]) return 1;
        at[count] = 0;
    }
    return 0;
}

/* Where in the input a place and a tap meet, in numbers of channels; 0 if it is padding. */
static int meets(const mpnas_op *op, const mpnas_tensor *in, const uint32_t *place, const uint32_t *tap,
                 size_t *where) {
    *where = 0;
    for (uint32_t a = 0; a < op->axes; a++) {
        const mpnas_axis *axis = &op->axis[a];
        uint64_t at = (uint64_t)place[a] * axis->stride + (uint64_t)tap[a] * axis->dilation;
        if (at < axis->before || at - axis->before >= in->dims[a]) return 0;
        *where = *where * in->dims[a] + (size_t)(at - axis->before);
    }
    return 1;
}

static void pool(const mpnas_op *op, const mpnas_tensor *in, mpnas_tensor *out) {
    uint32_t place[MPNAS_RANK] = {0}, tap[MPNAS_RANK], window[MPNAS_RANK], channels = out->channels;
    int64_t least = in->midrise ? 2 * lowest_code(in) + 1 : lowest_code(in);
    int32_t *to = out->data.integers;
    for (uint32_t a = 0; a < op->axes; a++) window[a] = op->axis[a].size;
    do {
        for (uint32_t c = 0; c < channels; c++) {
            int64_t sum = 0, most = least;
            memset(tap, 0, sizeof tap);
            do {
                size_t where;
                int there = meets(op, in, place, tap, &where);
                int64_t x = there ? in->data.integers[where * channels + c] : in->zero_point;
                sum = plus(sum, x);
                if (there && x > most) most = x;
            } while (next(tap, window, op->axes));
            *to++ = (int32_t)(uint32_t)(uint64_t)(op->is_sum ? sum : most);
        }
    } while (next(place, out->dims, op->axes));
}

/* One output channel at one place. */
static int64_t contracted(const mpnas_op *op, const mpnas_tensor *in, const uint32_t *place, size_t row,
                          uint32_t channel) {
    const mpnas_layer *layer = op->layer;
    uint32_t inner = layer->dims[layer->rank - 2], tap[MPNAS_RANK] = {0};
    uint32_t first = channel / (layer->out / op->groups) * inner;
    const int32_t *code = layer->codes + channel * layer->each;
    int64_t sum = op->bias.at[channel], zero = op->zero_point.at[channel];
    do {
        size_t where = row;
        if (op->axes == 0 || meets(op, in, place, tap, &where)) {
            const int32_t *x = in->data.integers + where * in->channels + first;
            for (uint32_t i = 0; i < inner; i++) {
                int64_t level = layer->midrise[channel] ? 2 * (int64_t)code[i] + 1 : code[i] - zero;
                sum = plus(sum, times(x[i] - in->zero_point, level));
            }
        }
        code += inner;
    } while (next(tap, layer->dims, op->axes));
    return sum;
}

static void contraction(const mpnas_op *op, const mpnas_tensor *in, mpnas_tensor *out) {
    uint32_t place[MPNAS_RANK] = {0};
    int32_t *to = out->data.integers;
    for (size_t row = 0; row < out->count / out->channels; row++) {
        for (uint32_t channel = 0; channel < out->channels; channel++)
            *to++ = (int32_t)(uint32_t)(uint64_t)contracted(op, in, place, row, channel);
        next(place, out->dims, op->axes);
    }
}

static void joined(const mpnas_net *net, const mpnas_op *op, mpnas_tensor *out) {
    int32_t *to = out->data.integers;
    for (size_t row = 0; row < out->count / out->channels; row++) {
        for (uint32_t k = 0; k < op->inputs; k++) {
            const mpnas_tensor *in = &net->tensor[op->input[k]];
            memcpy(to, in->data.integers + row * in->channels, in->channels * sizeof *to);
            to += in->channels;
        }
    }
}

static void added(const mpnas_net *net, const mpnas_op *op, mpnas_tensor *out) {
    for (size_t k = 0; k < out->count; k++) {
        uint32_t sum = 0;
        for (uint32_t i = 0; i < op->inputs; i++)
            sum += (uint32_t)net->tensor[op->input[i]].data.integers[k];
        out->data.integers[k] = (int32_t)sum;
    }
}

/* Where the factor of a product has the number for a place of the result. */
static size_t factor_at(const mpnas_tensor *t, const uint32_t *place) {
    size_t where = 0;
    for (uint32_t k = 0; k < t->rank; k++) where = where * t->dims[k] + (t->dims[k] == 1 ? 0 : place[k]);
    return where;
}

static void multiply(const mpnas_net *net, const mpnas_op *op, mpnas_tensor *out) {
    const mpnas_tensor *a = &net->tensor[op->input[0]], *b = &net->tensor[op->input[1]];
    uint32_t place[MPNAS_RANK] = {0};
    int32_t *to = out->data.integers;
    do {
        int64_t x = a->data.integers[factor_at(a, place)], y = b->data.integers[factor_at(b, place)];
        *to++ = (int32_t)(uint32_t)(uint64_t)to_nearest(x * y, op->right_shift, 1);
    } while (next(place, out->dims, out->rank));
}

static void look_up(const mpnas_op *op, const mpnas_tensor *in, mpnas_tensor *out) {
    for (size_t k = 0; k < out->count; k++) {
        int64_t along = clip(in->data.integers[k], op->start, op->last) - op->start;
        const int64_t *entry = op->entries.at + (along >> op->right_shift);
        int64_t rest = along & (((int64_t)1 << op->right_shift) - 1);
        int64_t rise = to_nearest((entry[1] - entry[0]) * rest, op->right_shift, 1);
        out->data.integers[k] = (int32_t)(entry[0] + rise);
    }
}

static void dequantise(const mpnas_tensor *in, mpnas_tensor *out) {
    for (size_t k = 0; k < out->count; k++) {
        float scale = (float)in->scale[in->scales == 1 ? 0 : k % in->channels];
        out->data.reals[k] = (float)(in->data.integers[k] - in->zero_point) * scale;
    }
}

mpnas_status mpnas_run(mpnas_net *net, const float *input, float *output) {
    mpnas_tensor *first = &net->tensor[net->input], *last = &net->tensor[net->output];
    if (first->kind != MPNAS_REAL || last->kind != MPNAS_REAL) return MPNAS_DAMAGED;
    memcpy(first->data.reals, input, first->count * sizeof *input);
    for (uint32_t k = 0; k < net->ops; k++) {
        const mpnas_op *op = &net->op[k];
        const mpnas_tensor *in = &net->tensor[op->input[0]];
        mpnas_tensor *out = &net->tensor[op->output];
        switch (op->kind) {
        case QUANTISE: quantise(op, in, out); break;
        case CONTRACTION: contraction(op, in, out); break;
        case REQUANTISE: requantise(op, in, out); break;
        case ADD: added(net, op, out); break;
        case CONCAT: joined(net, op, out); break;
        case POOL: pool(op, in, out); break;
        case RESHAPE: memcpy(out->data.integers, in->data.integers, out->count * sizeof(int32_t)); break;
        case MULTIPLY: multiply(net, op, out); break;
        case TABLE: look_up(op, in, out); break;
        default: dequantise(in, out); break;
        }
    }
    memcpy(output, last->data.reals, last->count * sizeof *output);
    return MPNAS_OK;
}
