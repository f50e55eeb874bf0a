/* Reads a packed network: the container, tensors and operations, each checked before it is followed. */

#include "mpnas_reader.h"

#include <string.h>

enum { HEADER = 72, VERSION = 2, OLDEST = 1 };

static void read_product(reader *r, const mpnas_net *net, uint32_t known, mpnas_tensor *t, int counted) {
    uint32_t source = (uint32_t)mpnas_whole(r, known), count;
    const double *factor = NULL;
    double *scale;
    const mpnas_layer *layer = NULL;
    if (counted) {
        uint32_t index = (uint32_t)mpnas_whole(r, net->layers);
        count = (uint32_t)mpnas_whole(r, 2);
        if (r->status != MPNAS_OK) return;
        layer = &net->layer[index];
        count = count ? 1 : layer->out;
    } else {
        count = mpnas_reals(r, &factor);
    }
    scale = r->status == MPNAS_OK ? mpnas_take(r, count, sizeof *scale) : NULL;
    if (scale == NULL) return;
    for (uint32_t k = 0; k < count; k++)
        scale[k] =
            net->tensor[source].scale[0] * (layer ? (double)mpnas_as_float(layer->word[k]) : factor[k]);
    t->scale = scale;
    t->scales = count;
}

static void read_tensor(reader *r, const mpnas_net *net, uint32_t known, const quantised_input *input,
                        uint32_t inputs, mpnas_tensor *t) {
    int flags, origin;
    mpnas_text(r);
    t->count = (size_t)mpnas_shape(r, &t->rank, t->dims);
    t->channels = t->rank ? t->dims[t->rank - 1] : 1;
    t->kind = (mpnas_kind)mpnas_whole(r, 3);
    flags = (int)mpnas_whole(r, 4);
    origin = (int)mpnas_whole(r, 4);
    t->is_signed = flags & 1;
    t->midrise = flags >> 1;
    t->bits = 32;
    if (origin == 0) {
        t->bits = (int)mpnas_whole(r, 33);
        t->zero_point = mpnas_integer(r);
        t->scales = mpnas_reals(r, &t->scale);
    } else if (origin == 1) {
        uint32_t k = (uint32_t)mpnas_whole(r, inputs);
        if (r->status != MPNAS_OK) return;
        t->bits = input[k].bits;
        t->zero_point = input[k].zero_point;
        t->scale = &input[k].scale;
        t->scales = 1;
    } else {
        read_product(r, net, known, t, origin == 2);
    }
    if (t->scales != 1 && t->scales != t->channels) mpnas_fail(r, MPNAS_DAMAGED);
    if (t->kind == MPNAS_CODE ? t->bits < 1 || (t->bits > 8 && t->bits != 16) : t->bits != 32)
        mpnas_fail(r, MPNAS_DAMAGED);
    for (uint32_t k = 0; k < t->scales && r->status == MPNAS_OK; k++)
        if (!(t->scale[k] > 0 && t->scale[k] <= 1e300)) mpnas_fail(r, MPNAS_DAMAGED);
    t->data.integers = mpnas_take(r, t->count, sizeof(int32_t));
}

static void read_axes(reader *r, mpnas_op *op) {
    op->axes = (uint32_t)mpnas_whole(r, MPNAS_RANK);
    for (uint32_t a = 0; a < op->axes; a++) {
        mpnas_axis *axis = &op->axis[a];
        uint32_t *row[4] = {&axis->stride, &axis->before, &axis->after, &axis->dilation};
        if (op->kind == POOL) {
            row[0] = &axis->size, row[1] = &axis->stride, row[2] = &axis->before, row[3] = &axis->after;
            axis->dilation = 1;
        }
        for (int k = 0; k < 4; k++) *row[k] = (uint32_t)mpnas_whole(r, (uint64_t)1 << 31);
        if (op->kind == CONTRACTION && op->layer && a < op->layer->rank) axis->size = op->layer->dims[a];
        if (axis->stride == 0 || axis->dilation == 0 || axis->size == 0) mpnas_fail(r, MPNAS_DAMAGED);
    }
}

static void read_contraction(reader *r, const mpnas_net *net, mpnas_op *op) {
    uint32_t index = (uint32_t)mpnas_whole(r, net->layers);
    int flags = (int)mpnas_whole(r, 4);
    if (r->status != MPNAS_OK) return;
    op->layer = &net->layer[index];
    read_axes(r, op);
    op->groups = (uint32_t)mpnas_whole(r, (uint64_t)1 << 31);
    op->bias.count = op->zero_point.count = op->layer->out;
    op->bias.at = op->layer->bias;
    op->zero_point.at = op->layer->zero_point;
    if (flags & 1) op->bias.at = mpnas_integers_of(r, op->layer->out, -INT32_MAX, INT32_MAX);
    if (flags & 2) op->zero_point.at = mpnas_integers_of(r, op->layer->out, INT32_MIN, INT32_MAX);
}

/* A vector that has one number, or one for each channel. */
static mpnas_vector per_channel(reader *r, uint32_t channels) {
    mpnas_vector found = mpnas_integers(r);
    if (found.count != 1 && found.count != channels) mpnas_fail(r, MPNAS_DAMAGED);
    return found;
}

static void check_bounds(reader *r, const mpnas_op *op, const mpnas_tensor *out) {
    uint32_t channels = op->low.count > op->high.count ? op->low.count : op->high.count;
    for (uint32_t k = 0; k < channels && r->status == MPNAS_OK; k++) {
        int64_t low = op->low.at[op->low.count == 1 ? 0 : k], high = op->high.at[op->high.count == 1 ? 0 : k];
        if (low < lowest_code(out) || high > highest_code(out) || low > high) mpnas_fail(r, MPNAS_DAMAGED);
    }
}

static void read_requantise(reader *r, const mpnas_net *net, mpnas_op *op, const mpnas_tensor *out) {
    uint32_t origin;
    op->rounding = (int)mpnas_whole(r, ROUNDINGS);
    op->left_shift = (int)mpnas_whole(r, 31);
    op->zero_in = mpnas_integer(r);
    op->zero_out = mpnas_integer(r);
    origin = (uint32_t)mpnas_whole(r, (uint64_t)net->layers + 1);
    if (origin) {
        op->multiplier.count = mpnas_whole(r, 2) ? 1 : net->layer[origin - 1].out;
        op->multiplier.at = net->layer[origin - 1].word;
        if (op->multiplier.count != 1 && op->multiplier.count != out->channels) mpnas_fail(r, MPNAS_DAMAGED);
    } else {
        op->multiplier = per_channel(r, out->channels);
    }
    op->shift = per_channel(r, out->channels);
    op->offset = per_channel(r, out->channels);
    op->low = per_channel(r, out->channels);
    op->high = per_channel(r, out->channels);
    for (uint32_t k = 0; k < op->shift.count; k++)
        if (op->shift.at[k] < 0 || op->shift.at[k] > 62) mpnas_fail(r, MPNAS_DAMAGED);
    check_bounds(r, op, out);
}

static void read_quantise(reader *r, mpnas_op *op, const mpnas_tensor *out) {
    int has = (int)mpnas_whole(r, 4);
    int64_t *ends = mpnas_take(r, 2, sizeof *ends);
    if (ends == NULL) return;
    ends[0] = has & 1 ? mpnas_integer(r) : lowest_code(out);
    ends[1] = has & 2 ? mpnas_integer(r) : highest_code(out);
    op->low.count = op->high.count = 1;
    op->low.at = &ends[0];
    op->high.at = &ends[1];
    check_bounds(r, op, out);
}

static void read_table(reader *r, const mpnas_net *net, mpnas_op *op) {
    uint64_t origin;
    op->start = mpnas_integer(r);
    op->right_shift = (int)mpnas_whole(r, 31);
    origin = mpnas_whole(r, (uint64_t)(op - net->op) + 1);
    op->entries = origin ? net->op[origin - 1].entries : mpnas_integers(r);
    if (op->entries.count < 2 || op->entries.count - 1 > (uint32_t)1 << 31 >> op->right_shift) {
        mpnas_fail(r, MPNAS_DAMAGED);
        return;
    }
    op->last = op->start - 1 + (((int64_t)op->entries.count - 1) << op->right_shift);
    if (op->start < INT32_MIN || op->last > INT32_MAX) mpnas_fail(r, MPNAS_DAMAGED);
    for (uint32_t k = 0; k < op->entries.count && r->status == MPNAS_OK; k++) {
        int64_t entry = op->entries.at[k], before = op->entries.at[k > 0 ? k - 1 : 0];
        /* The one before was in range, or we were not here: their difference fits 64 bits. */
        if (entry < -INT32_MAX || entry > INT32_MAX || entry - before < -INT32_MAX || entry - before > INT32_MAX)
            mpnas_fail(r, MPNAS_DAMAGED);
    }
}

static void read_op(reader *r, mpnas_net *net, mpnas_op *op) {
    uint32_t *input;
    mpnas_tensor *out;
    op->kind = (int)mpnas_whole(r, KINDS);
    mpnas_text(r);
    op->inputs = (uint32_t)mpnas_whole(r, MANY);
    op->input = input = mpnas_take(r, op->inputs, sizeof *input);
    if (op->inputs == 0) mpnas_fail(r, MPNAS_DAMAGED);
    for (uint32_t k = 0; k < op->inputs && r->status == MPNAS_OK; k++) {
        input[k] = (uint32_t)mpnas_whole(r, net->tensors);
        if (r->status == MPNAS_OK && !net->tensor[input[k]].written) mpnas_fail(r, MPNAS_DAMAGED);
    }
    op->output = (uint32_t)mpnas_whole(r, net->tensors);
    if (r->status != MPNAS_OK) return;
    out = &net->tensor[op->output];
    if (op->kind == QUANTISE) read_quantise(r, op, out);
    if (op->kind == CONTRACTION) read_contraction(r, net, op);
    if (op->kind == REQUANTISE) read_requantise(r, net, op, out);
    if (op->kind == MULTIPLY) op->right_shift = (int)mpnas_whole(r, 63);
    if (op->kind == TABLE) read_table(r, net, op);
    if (op->kind == POOL) {
        op->is_sum = (int)mpnas_whole(r, 2);
        read_axes(r, op);
    }
    if (r->status != MPNAS_OK || out->written || !mpnas_op_fits(net, op)) mpnas_fail(r, MPNAS_DAMAGED);
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
    if (mpnas_bits_at(file, 64, 32) > VERSION) return MPNAS_NEWER;
    if (mpnas_bits_at(file, 512, 32) != checksum(file, 64) || mpnas_bits_at(file, 544, 32) != 0)
        return MPNAS_DAMAGED;
    total = mpnas_bits_at(file, 128, 64);
    graph = mpnas_bits_at(file, 256, 64) / 8;
    start = mpnas_bits_at(file, 320, 64);
    bits = mpnas_bits_at(file, 384, 64);
    weights = bits / 8 + (bits % 8 != 0);
    if (total != size) return MPNAS_TRUNCATED;
    if (mpnas_bits_at(file, 64, 32) < OLDEST || mpnas_bits_at(file, 96, 32) != HEADER ||
        mpnas_bits_at(file, 192, 64) != HEADER || mpnas_bits_at(file, 256, 64) % 8)
        return MPNAS_DAMAGED;
    if (graph > size - HEADER || start != HEADER + graph || weights != size - start)
        return MPNAS_DAMAGED;
    if (mpnas_bits_at(file, 448, 32) != checksum(file + HEADER, graph)) return MPNAS_DAMAGED;
    if (mpnas_bits_at(file, 480, 32) != checksum(file + start, weights)) return MPNAS_DAMAGED;
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
    input = mpnas_read_weights(&r, net, &inputs);
    net->tensors = (uint32_t)mpnas_whole(&r, MANY);
    net->tensor = mpnas_take(&r, net->tensors, sizeof *net->tensor);
    for (uint32_t k = 0; k < net->tensors && r.status == MPNAS_OK; k++)
        read_tensor(&r, net, k, input, inputs, &net->tensor[k]);
    net->input = (uint32_t)mpnas_whole(&r, net->tensors);
    net->output = (uint32_t)mpnas_whole(&r, net->tensors);
    net->ops = (uint32_t)mpnas_whole(&r, MANY);
    net->op = mpnas_take(&r, net->ops, sizeof *net->op);
    if (r.status == MPNAS_OK) net->tensor[net->input].written = 1;
    for (uint32_t k = 0; k < net->ops && r.status == MPNAS_OK; k++) read_op(&r, net, &net->op[k]);
    for (uint64_t k = mpnas_whole(&r, MANY); k > 0 && r.status == MPNAS_OK; k--) mpnas_text(&r);
    if (r.status == MPNAS_OK && (r.fields != r.fields_end || !net->tensor[net->output].written))
        mpnas_fail(&r, MPNAS_DAMAGED);
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
