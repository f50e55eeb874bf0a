/* Reads a packed network: header, layers, tensors and operations, each checked before it is followed. */

#include "mpnas_internal.h"

#include <string.h>

enum { HEADER = 72, VERSION = 1, MANY = 1 << 20, LONGEST_TEXT = 4096 };

typedef struct {
    const uint8_t *fields, *fields_end; /* of the graph section */
    const uint8_t *weights;
    uint64_t bit, bits; /* next bit of the weights section, and its length */
    uint8_t *arena, *arena_end;
    mpnas_status status; /* the first thing that went wrong */
} reader;

static int fail(reader *r, mpnas_status status) {
    if (r->status == MPNAS_OK) r->status = status;
    return 0;
}

static void *take(reader *r, uint64_t count, size_t size) {
    uint8_t *start = r->arena + (0 - (uintptr_t)r->arena) % 8;
    if (start > r->arena_end || count > (uint64_t)(r->arena_end - start) / size) {
        fail(r, MPNAS_ARENA);
        return NULL;
    }
    r->arena = start + (size_t)count * size;
    return memset(start, 0, (size_t)count * size);
}

/* Fields of the graph section -------------------------------------------------------------------- */

static uint64_t whole(reader *r, uint64_t limit) {
    uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
        if (r->fields == r->fields_end) break;
        value |= (uint64_t)(*r->fields & 0x7F) << shift;
        if (*r->fields++ < 0x80) {
            if (value < limit) return value;
            break;
        }
    }
    fail(r, MPNAS_DAMAGED);
    return 0;
}

static int64_t integer(reader *r) {
    uint64_t value = whole(r, (uint64_t)1 << 33);
    return value % 2 ? -(int64_t)((value + 1) / 2) : (int64_t)(value / 2);
}

static const uint8_t *bytes(reader *r, uint64_t count) {
    const uint8_t *start = r->fields;
    if (count > (uint64_t)(r->fields_end - start)) {
        fail(r, MPNAS_DAMAGED);
        return NULL;
    }
    r->fields += count;
    return start;
}

static void text(reader *r) { bytes(r, whole(r, LONGEST_TEXT + 1)); }

static uint64_t bits_at(const uint8_t *data, uint64_t at, unsigned width) {
    uint64_t value = 0;
    for (unsigned k = 0; k < width; k++)
        value |= (uint64_t)(data[(at + k) / 8] >> (at + k) % 8 & 1) << k;
    return value;
}

static int64_t as_signed(uint64_t value, unsigned width) {
    uint64_t sign = (uint64_t)1 << (width - 1);
    return value & sign ? -(int64_t)((~value & (sign - 1))) - 1 : (int64_t)value;
}

static mpnas_vector integers(reader *r) {
    uint32_t count = (uint32_t)whole(r, (uint64_t)1 << 31);
    unsigned width = (unsigned)whole(r, 65);
    const uint8_t *data = bytes(r, ((uint64_t)count * width + 7) / 8);
    int64_t *at = NULL;
    mpnas_vector none = {0, NULL}, found;
    if (width == 0) fail(r, MPNAS_DAMAGED);
    if (r->status == MPNAS_OK) at = take(r, count, sizeof *at);
    if (at == NULL) return none;
    for (uint32_t k = 0; k < count; k++) at[k] = as_signed(bits_at(data, (uint64_t)k * width, width), width);
    found.count = count;
    found.at = at;
    return found;
}

/* A vector whose length and numbers are limited. */
static const int64_t *integers_of(reader *r, uint32_t count, int64_t low, int64_t high) {
    mpnas_vector found = integers(r);
    if (found.count != count) fail(r, MPNAS_DAMAGED);
    for (uint32_t k = 0; k < found.count; k++)
        if (found.at[k] < low || found.at[k] > high) fail(r, MPNAS_DAMAGED);
    return found.at;
}

static double real(const uint8_t *data) {
    uint64_t word = bits_at(data, 0, 64);
    double value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static uint32_t reals(reader *r, const double **where) {
    uint64_t different = whole(r, (uint64_t)1 << 31);
    const uint8_t *data = bytes(r, 8 * different);
    mpnas_vector index = integers(r);
    double *at = r->status == MPNAS_OK ? take(r, index.count, sizeof *at) : NULL;
    *where = at;
    if (at == NULL) return 0;
    for (uint32_t k = 0; k < index.count; k++) {
        if (index.at[k] < 0 || (uint64_t)index.at[k] >= different) return (uint32_t)fail(r, MPNAS_DAMAGED);
        at[k] = real(data + 8 * index.at[k]);
    }
    return index.count;
}

/* Axes, and how many numbers they span; 0 if that is more than memory has. */
static uint64_t shape(reader *r, uint32_t *rank, uint32_t *dims) {
    uint64_t count = 1;
    *rank = (uint32_t)whole(r, MPNAS_RANK + 1);
    for (uint32_t k = 0; k < *rank; k++) {
        dims[k] = (uint32_t)whole(r, (uint64_t)1 << 31);
        if (dims[k] == 0 || count > ((uint64_t)1 << 40) / dims[k]) fail(r, MPNAS_DAMAGED);
        count *= r->status == MPNAS_OK ? dims[k] : 0;
    }
    return count;
}

/* The weights section ---------------------------------------------------------------------------- */

static uint64_t next_bits(reader *r, unsigned width) {
    if (r->bits - r->bit < width) return (uint64_t)fail(r, MPNAS_DAMAGED);
    r->bit += width;
    return bits_at(r->weights, r->bit - width, width);
}

static int next_width(reader *r) {
    static const int widths[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32};
    uint64_t index = next_bits(r, 4);
    return index < 11 ? widths[index] : fail(r, MPNAS_DAMAGED);
}

static float as_float(int64_t word) {
    uint32_t bits = (uint32_t)(uint64_t)word;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void read_head(reader *r, mpnas_layer *layer) {
    uint64_t count;
    text(r);
    count = shape(r, &layer->rank, layer->dims);
    layer->flags = (int)whole(r, 16);
    if (layer->rank < 2) fail(r, MPNAS_DAMAGED);
    if (r->status != MPNAS_OK) return;
    layer->out = layer->dims[layer->rank - 1];
    layer->each = (size_t)(count / layer->out);
    layer->midrise = integers_of(r, layer->out, 0, 1);
    layer->decision = integers_of(r, layer->out, 0, INT32_MAX);
    layer->slot = integers_of(r, layer->out, 0, INT32_MAX);
    layer->decisions = (uint32_t)whole(r, (uint64_t)1 << 31);
    layer->slots = (uint32_t)whole(r, (uint64_t)1 << 31);
    for (uint32_t c = 0; r->status == MPNAS_OK && c < layer->out; c++)
        if (layer->decision[c] >= layer->decisions || layer->slot[c] >= layer->slots) fail(r, MPNAS_DAMAGED);
}

static void read_codes(reader *r, mpnas_layer *layer) {
    static const int widths[] = {1, 2, 3, 4, 5, 6, 7, 8, 16};
    for (unsigned w = 0; w < sizeof widths / sizeof *widths; w++) {
        for (uint32_t c = 0; c < layer->out; c++) {
            if (layer->bits[c] != widths[w]) continue;
            for (size_t k = 0; k < layer->each && r->status == MPNAS_OK; k++) {
                unsigned width = (unsigned)widths[w];
                uint64_t code = next_bits(r, width);
                layer->codes[c * layer->each + k] =
                    (int32_t)(layer->flags & SIGNED ? as_signed(code, width) : (int64_t)code);
            }
        }
    }
}

static void read_layer(reader *r, mpnas_layer *layer) {
    uint64_t start = r->bit, stride = layer->flags & SHIFTED ? 64 : 32, total = 0;
    int64_t *bias = take(r, layer->out, sizeof *bias);
    layer->bits = take(r, layer->out, sizeof *layer->bits);
    layer->word = take(r, layer->out, sizeof *layer->word);
    layer->zero_point = take(r, layer->out, sizeof *layer->zero_point);
    if (r->status != MPNAS_OK) return;
    if (4 * (uint64_t)layer->decisions + stride * layer->slots > r->bits - r->bit) {
        fail(r, MPNAS_DAMAGED);
        return;
    }
    for (uint32_t c = 0; c < layer->out; c++) {
        uint64_t slot = start + 4 * (uint64_t)layer->decisions + stride * (uint64_t)layer->slot[c];
        r->bit = start + 4 * (uint64_t)layer->decision[c];
        layer->bits[c] = next_width(r);
        total += (uint64_t)layer->bits[c];
        if (layer->bits[c] == 0 || layer->bits[c] == 32) fail(r, MPNAS_DAMAGED);
        layer->word[c] = as_signed(bits_at(r->weights, slot, 32), 32);
        if (layer->flags & SHIFTED) layer->zero_point[c] = as_signed(bits_at(r->weights, slot + 32, 32), 32);
    }
    r->bit = start + 4 * (uint64_t)layer->decisions + stride * layer->slots;
    for (uint32_t c = 0; c < layer->out && layer->flags & BIASED; c++) bias[c] = as_signed(next_bits(r, 32), 32);
    layer->bias = bias;
    if (r->status != MPNAS_OK || layer->each > (r->bits - r->bit) / total) {
        fail(r, MPNAS_DAMAGED);
        return;
    }
    layer->codes = take(r, (uint64_t)layer->out * layer->each, sizeof *layer->codes);
    if (layer->codes != NULL) read_codes(r, layer);
}

typedef struct {
    int bits, shifted;
    double scale;
    int64_t zero_point;
} quantised_input;

static quantised_input *read_weights(reader *r, mpnas_net *net, uint32_t *inputs) {
    quantised_input *input;
    net->layers = (uint32_t)whole(r, MANY);
    net->layer = take(r, net->layers, sizeof *net->layer);
    for (uint32_t k = 0; k < net->layers && r->status == MPNAS_OK; k++) read_head(r, &net->layer[k]);
    *inputs = (uint32_t)whole(r, MANY);
    input = take(r, *inputs, sizeof *input);
    for (uint32_t k = 0; k < *inputs && r->status == MPNAS_OK; k++) input[k].shifted = (int)whole(r, 2);
    for (uint32_t k = 0; k < net->layers && r->status == MPNAS_OK; k++) read_layer(r, &net->layer[k]);
    for (uint32_t k = 0; k < *inputs && r->status == MPNAS_OK; k++) {
        input[k].bits = next_width(r);
        input[k].scale = as_float(as_signed(next_bits(r, 32), 32));
        if (input[k].shifted) input[k].zero_point = as_signed(next_bits(r, 32), 32);
    }
    if (r->bits - r->bit != 32 * whole(r, (uint64_t)1 << 31)) fail(r, MPNAS_DAMAGED);
    return input;
}

/* Tensors and operations ------------------------------------------------------------------------- */

static void read_product(reader *r, const mpnas_net *net, uint32_t known, mpnas_tensor *t, int counted) {
    uint32_t source = (uint32_t)whole(r, known), count;
    const double *factor = NULL;
    double *scale;
    const mpnas_layer *layer = NULL;
    if (counted) {
        uint32_t index = (uint32_t)whole(r, net->layers);
        count = (uint32_t)whole(r, 2);
        if (r->status != MPNAS_OK) return;
        layer = &net->layer[index];
        count = count ? 1 : layer->out;
    } else {
        count = reals(r, &factor);
    }
    scale = r->status == MPNAS_OK ? take(r, count, sizeof *scale) : NULL;
    if (scale == NULL) return;
    for (uint32_t k = 0; k < count; k++)
        scale[k] = net->tensor[source].scale[0] * (layer ? (double)as_float(layer->word[k]) : factor[k]);
    t->scale = scale;
    t->scales = count;
}

static void read_tensor(reader *r, const mpnas_net *net, uint32_t known, const quantised_input *input,
                        uint32_t inputs, mpnas_tensor *t) {
    int flags, origin;
    text(r);
    t->count = (size_t)shape(r, &t->rank, t->dims);
    t->channels = t->rank ? t->dims[t->rank - 1] : 1;
    t->kind = (mpnas_kind)whole(r, 3);
    flags = (int)whole(r, 4);
    origin = (int)whole(r, 4);
    t->is_signed = flags & 1;
    t->midrise = flags >> 1;
    t->bits = 32;
    if (origin == 0) {
        t->bits = (int)whole(r, 33);
        t->zero_point = integer(r);
        t->scales = reals(r, &t->scale);
    } else if (origin == 1) {
        uint32_t k = (uint32_t)whole(r, inputs);
        if (r->status != MPNAS_OK) return;
        t->bits = input[k].bits;
        t->zero_point = input[k].zero_point;
        t->scale = &input[k].scale;
        t->scales = 1;
    } else {
        read_product(r, net, known, t, origin == 2);
    }
    if (t->scales != 1 && t->scales != t->channels) fail(r, MPNAS_DAMAGED);
    if (t->kind == MPNAS_CODE ? t->bits < 1 || (t->bits > 8 && t->bits != 16) : t->bits != 32)
        fail(r, MPNAS_DAMAGED);
    for (uint32_t k = 0; k < t->scales && r->status == MPNAS_OK; k++)
        if (!(t->scale[k] > 0 && t->scale[k] <= 1e300)) fail(r, MPNAS_DAMAGED);
    t->data.integers = take(r, t->count, sizeof(int32_t));
}

static void read_axes(reader *r, mpnas_op *op) {
    op->axes = (uint32_t)whole(r, MPNAS_RANK);
    for (uint32_t a = 0; a < op->axes; a++) {
        mpnas_axis *axis = &op->axis[a];
        uint32_t *row[4] = {&axis->stride, &axis->before, &axis->after, &axis->dilation};
        if (op->kind == POOL) {
            row[0] = &axis->size, row[1] = &axis->stride, row[2] = &axis->before, row[3] = &axis->after;
            axis->dilation = 1;
        }
        for (int k = 0; k < 4; k++) *row[k] = (uint32_t)whole(r, (uint64_t)1 << 31);
        if (op->kind == CONTRACTION && op->layer && a < op->layer->rank) axis->size = op->layer->dims[a];
        if (axis->stride == 0 || axis->dilation == 0 || axis->size == 0) fail(r, MPNAS_DAMAGED);
    }
}

static void read_contraction(reader *r, const mpnas_net *net, mpnas_op *op) {
    uint32_t index = (uint32_t)whole(r, net->layers);
    int flags = (int)whole(r, 4);
    if (r->status != MPNAS_OK) return;
    op->layer = &net->layer[index];
    read_axes(r, op);
    op->groups = (uint32_t)whole(r, (uint64_t)1 << 31);
    op->bias.count = op->zero_point.count = op->layer->out;
    op->bias.at = op->layer->bias;
    op->zero_point.at = op->layer->zero_point;
    if (flags & 1) op->bias.at = integers_of(r, op->layer->out, -INT32_MAX, INT32_MAX);
    if (flags & 2) op->zero_point.at = integers_of(r, op->layer->out, INT32_MIN, INT32_MAX);
}

/* A vector that has one number, or one for each channel. */
static mpnas_vector per_channel(reader *r, uint32_t channels) {
    mpnas_vector found = integers(r);
    if (found.count != 1 && found.count != channels) fail(r, MPNAS_DAMAGED);
    return found;
}

static void check_bounds(reader *r, const mpnas_op *op, const mpnas_tensor *out) {
    uint32_t channels = op->low.count > op->high.count ? op->low.count : op->high.count;
    for (uint32_t k = 0; k < channels && r->status == MPNAS_OK; k++) {
        int64_t low = op->low.at[op->low.count == 1 ? 0 : k], high = op->high.at[op->high.count == 1 ? 0 : k];
        if (low < lowest_code(out) || high > highest_code(out) || low > high) fail(r, MPNAS_DAMAGED);
    }
}

static void read_requantise(reader *r, const mpnas_net *net, mpnas_op *op, const mpnas_tensor *out) {
    uint32_t origin;
    op->rounding = (int)whole(r, ROUNDINGS);
    op->left_shift = (int)whole(r, 31);
    op->zero_in = integer(r);
    op->zero_out = integer(r);
    origin = (uint32_t)whole(r, (uint64_t)net->layers + 1);
    if (origin) {
        op->multiplier.count = whole(r, 2) ? 1 : net->layer[origin - 1].out;
        op->multiplier.at = net->layer[origin - 1].word;
        if (op->multiplier.count != 1 && op->multiplier.count != out->channels) fail(r, MPNAS_DAMAGED);
    } else {
        op->multiplier = per_channel(r, out->channels);
    }
    op->shift = per_channel(r, out->channels);
    op->offset = per_channel(r, out->channels);
    op->low = per_channel(r, out->channels);
    op->high = per_channel(r, out->channels);
    for (uint32_t k = 0; k < op->shift.count; k++)
        if (op->shift.at[k] < 0 || op->shift.at[k] > 62) fail(r, MPNAS_DAMAGED);
    check_bounds(r, op, out);
}

static void read_quantise(reader *r, mpnas_op *op, const mpnas_tensor *out) {
    int has = (int)whole(r, 4);
    int64_t *ends = take(r, 2, sizeof *ends);
    if (ends == NULL) return;
    ends[0] = has & 1 ? integer(r) : lowest_code(out);
    ends[1] = has & 2 ? integer(r) : highest_code(out);
    op->low.count = op->high.count = 1;
    op->low.at = &ends[0];
    op->high.at = &ends[1];
    check_bounds(r, op, out);
}

static void read_op(reader *r, mpnas_net *net, mpnas_op *op) {
    uint32_t *input;
    mpnas_tensor *out;
    op->kind = (int)whole(r, KINDS);
    text(r);
    op->inputs = (uint32_t)whole(r, MANY);
    op->input = input = take(r, op->inputs, sizeof *input);
    if (op->inputs == 0) fail(r, MPNAS_DAMAGED);
    for (uint32_t k = 0; k < op->inputs && r->status == MPNAS_OK; k++) {
        input[k] = (uint32_t)whole(r, net->tensors);
        if (r->status == MPNAS_OK && !net->tensor[input[k]].written) fail(r, MPNAS_DAMAGED);
    }
    op->output = (uint32_t)whole(r, net->tensors);
    if (r->status != MPNAS_OK) return;
    out = &net->tensor[op->output];
    if (op->kind == QUANTISE) read_quantise(r, op, out);
    if (op->kind == CONTRACTION) read_contraction(r, net, op);
    if (op->kind == REQUANTISE) read_requantise(r, net, op, out);
    if (op->kind == POOL) {
        op->is_sum = (int)whole(r, 2);
        read_axes(r, op);
    }
    if (r->status != MPNAS_OK || out->written || !mpnas_op_fits(net, op)) fail(r, MPNAS_DAMAGED);
    out->written = 1;
}

/* The container ---------------------------------------------------------------------------------- */

static uint32_t checksum(const uint8_t *data, uint64_t size) {
    uint32_t sum = 0xFFFFFFFFu;
    for (uint64_t k = 0; k < size; k++) {
        sum ^= data[k];
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320u : 0);
    }
    return ~sum;
}

static mpnas_status open_container(reader *r, const uint8_t *file, size_t size) {
    uint64_t total, graph, bits, start, weights;
    if (size < HEADER) return MPNAS_TRUNCATED;
    if (bits_at(file, 64, 32) > VERSION) return MPNAS_NEWER;
    if (bits_at(file, 512, 32) != checksum(file, 64) || bits_at(file, 544, 32) != 0) return MPNAS_DAMAGED;
    total = bits_at(file, 128, 64);
    graph = bits_at(file, 256, 64) / 8;
    start = bits_at(file, 320, 64);
    bits = bits_at(file, 384, 64);
    weights = bits / 8 + (bits % 8 != 0);
    if (total != size) return MPNAS_TRUNCATED;
    if (bits_at(file, 64, 32) != VERSION || bits_at(file, 96, 32) != HEADER || bits_at(file, 192, 64) != HEADER)
        return MPNAS_DAMAGED;
    if (bits_at(file, 256, 64) % 8 || graph > size - HEADER || start != HEADER + graph || weights != size - start)
        return MPNAS_DAMAGED;
    if (bits_at(file, 448, 32) != checksum(file + HEADER, graph)) return MPNAS_DAMAGED;
    if (bits_at(file, 480, 32) != checksum(file + start, weights)) return MPNAS_DAMAGED;
    r->fields = file + HEADER;
    r->fields_end = r->weights = file + start;
    r->bits = bits;
    return MPNAS_OK;
}

mpnas_status mpnas_open(mpnas_net *net, const void *file, size_t size, void *arena, size_t arena_size) {
    reader r = {NULL, NULL, NULL, 0, 0, NULL, NULL, MPNAS_OK};
    quantised_input *input;
    uint32_t inputs;
    memset(net, 0, sizeof *net);
    if (size < 8 || memcmp(file, "MPNASPAK", 8) != 0) return MPNAS_FOREIGN;
    r.status = open_container(&r, file, size);
    if (r.status != MPNAS_OK) return r.status;
    r.arena = arena;
    r.arena_end = r.arena + arena_size;
    input = read_weights(&r, net, &inputs);
    net->tensors = (uint32_t)whole(&r, MANY);
    net->tensor = take(&r, net->tensors, sizeof *net->tensor);
    for (uint32_t k = 0; k < net->tensors && r.status == MPNAS_OK; k++)
        read_tensor(&r, net, k, input, inputs, &net->tensor[k]);
    net->input = (uint32_t)whole(&r, net->tensors);
    net->output = (uint32_t)whole(&r, net->tensors);
    net->ops = (uint32_t)whole(&r, MANY);
    net->op = take(&r, net->ops, sizeof *net->op);
    if (r.status == MPNAS_OK) net->tensor[net->input].written = 1;
    for (uint32_t k = 0; k < net->ops && r.status == MPNAS_OK; k++) read_op(&r, net, &net->op[k]);
    for (uint64_t k = whole(&r, MANY); k > 0 && r.status == MPNAS_OK; k--) text(&r);
    if (r.status == MPNAS_OK && (r.fields != r.fields_end || !net->tensor[net->output].written)) fail(&r, MPNAS_DAMAGED);
    net->used = (size_t)(r.arena - (uint8_t *)arena);
    return r.status;
}

const char *mpnas_words(mpnas_status status) {
    switch (status) {
    case MPNAS_OK: return "all is well";
    case MPNAS_FOREIGN: return "this is no packed network";
    case MPNAS_NEWER: return "the packed file has a newer version than this reader; export it again";
    case MPNAS_TRUNCATED: return "the packed file is truncated, or something follows it; copy it again";
    case MPNAS_DAMAGED: return "the packed file is damaged; copy or export it again";
    default: return "the arena is too small for this network";
    }
}
