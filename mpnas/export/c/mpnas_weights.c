/* The weights section: widths, scales, zero points, biases and codes of layers, and quantised inputs. */

#include "mpnas_reader.h"

#include <string.h>

static uint64_t next_bits(reader *r, unsigned width) {
    if (r->bits - r->bit < width) return (uint64_t)mpnas_fail(r, MPNAS_DAMAGED);
    r->bit += width;
    return mpnas_bits_at(r->weights, r->bit - width, width);
}

static int next_width(reader *r) {
    static const int widths[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32};
    uint64_t index = next_bits(r, 4);
    return index < 11 ? widths[index] : mpnas_fail(r, MPNAS_DAMAGED);
}

float mpnas_as_float(int64_t word) {
    uint32_t bits = (uint32_t)(uint64_t)word;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void read_head(reader *r, mpnas_layer *layer) {
    uint64_t count;
    mpnas_text(r);
    count = mpnas_shape(r, &layer->rank, layer->dims);
    layer->flags = (int)mpnas_whole(r, 16);
    if (layer->rank < 2) mpnas_fail(r, MPNAS_DAMAGED);
    if (r->status != MPNAS_OK) return;
    layer->out = layer->dims[layer->rank - 1];
    layer->each = (size_t)(count / layer->out);
    layer->midrise = mpnas_integers_of(r, layer->out, 0, 1);
    layer->decision = mpnas_integers_of(r, layer->out, 0, INT32_MAX);
    layer->slot = mpnas_integers_of(r, layer->out, 0, INT32_MAX);
    layer->decisions = (uint32_t)mpnas_whole(r, (uint64_t)1 << 31);
    layer->slots = (uint32_t)mpnas_whole(r, (uint64_t)1 << 31);
    for (uint32_t c = 0; r->status == MPNAS_OK && c < layer->out; c++)
        if (layer->decision[c] >= layer->decisions || layer->slot[c] >= layer->slots)
            mpnas_fail(r, MPNAS_DAMAGED);
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
                    (int32_t)(layer->flags & SIGNED ? mpnas_as_signed(code, width) : (int64_t)code);
            }
        }
    }
}

static void read_layer(reader *r, mpnas_layer *layer) {
    uint64_t start = r->bit, stride = layer->flags & SHIFTED ? 64 : 32, total = 0;
    int64_t *bias = mpnas_take(r, layer->out, sizeof *bias);
    layer->bits = mpnas_take(r, layer->out, sizeof *layer->bits);
    layer->word = mpnas_take(r, layer->out, sizeof *layer->word);
    layer->zero_point = mpnas_take(r, layer->out, sizeof *layer->zero_point);
    if (r->status != MPNAS_OK) return;
    if (4 * (uint64_t)layer->decisions + stride * layer->slots > r->bits - r->bit) {
        mpnas_fail(r, MPNAS_DAMAGED);
        return;
    }
    for (uint32_t c = 0; c < layer->out; c++) {
        uint64_t slot = start + 4 * (uint64_t)layer->decisions + stride * (uint64_t)layer->slot[c];
        r->bit = start + 4 * (uint64_t)layer->decision[c];
        layer->bits[c] = next_width(r);
        total += (uint64_t)layer->bits[c];
        if (layer->bits[c] == 0 || layer->bits[c] == 32) mpnas_fail(r, MPNAS_DAMAGED);
        layer->word[c] = mpnas_as_signed(mpnas_bits_at(r->weights, slot, 32), 32);
        if (layer->flags & SHIFTED)
            layer->zero_point[c] = mpnas_as_signed(mpnas_bits_at(r->weights, slot + 32, 32), 32);
    }
    r->bit = start + 4 * (uint64_t)layer->decisions + stride * layer->slots;
    for (uint32_t c = 0; c < layer->out && layer->flags & BIASED; c++)
        bias[c] = mpnas_as_signed(next_bits(r, 32), 32);
    layer->bias = bias;
    if (r->status != MPNAS_OK || layer->each > (r->bits - r->bit) / total) {
        mpnas_fail(r, MPNAS_DAMAGED);
        return;
    }
    layer->codes = mpnas_take(r, (uint64_t)layer->out * layer->each, sizeof *layer->codes);
    if (layer->codes != NULL) read_codes(r, layer);
}

quantised_input *mpnas_read_weights(reader *r, mpnas_net *net, uint32_t *inputs) {
    quantised_input *input;
    net->layers = (uint32_t)mpnas_whole(r, MANY);
    net->layer = mpnas_take(r, net->layers, sizeof *net->layer);
    for (uint32_t k = 0; k < net->layers && r->status == MPNAS_OK; k++) read_head(r, &net->layer[k]);
    *inputs = (uint32_t)mpnas_whole(r, MANY);
    input = mpnas_take(r, *inputs, sizeof *input);
    for (uint32_t k = 0; k < *inputs && r->status == MPNAS_OK; k++) input[k].shifted = (int)mpnas_whole(r, 2);
    for (uint32_t k = 0; k < net->layers && r->status == MPNAS_OK; k++) read_layer(r, &net->layer[k]);
    for (uint32_t k = 0; k < *inputs && r->status == MPNAS_OK; k++) {
        input[k].bits = next_width(r);
        input[k].scale = mpnas_as_float(mpnas_as_signed(next_bits(r, 32), 32));
        if (input[k].shifted) input[k].zero_point = mpnas_as_signed(next_bits(r, 32), 32);
    }
    if (r->bits - r->bit != 32 * mpnas_whole(r, (uint64_t)1 << 31)) mpnas_fail(r, MPNAS_DAMAGED);
    return input;
}
