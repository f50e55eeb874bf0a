/* mpnas_run FILE [all]: runs a packed network on float32 inputs from standard input, one after the other.
 *
 * Prints a line for each: its outputs in full. With `all` a line for each operation: what it gave.
 */

#include "mpnas_packed.h"

#include <stdio.h>
#include <stdlib.h>

static void *whole_file(const char *name, size_t *size) {
    FILE *file = fopen(name, "rb");
    char *data = NULL, *more;
    size_t room = 0, got = 0;
    *size = 0;
    if (file == NULL) return NULL;
    do {
        if (*size == room) {
            room = 2 * room + 4096;
            more = realloc(data, room);
            if (more == NULL) break;
            data = more;
        }
        got = fread(data + *size, 1, room - *size, file);
        *size += got;
    } while (got > 0);
    fclose(file);
    return data;
}

static void print(const mpnas_tensor *t) {
    for (size_t k = 0; k < t->count; k++) {
        if (t->kind == MPNAS_REAL)
            printf("%.9g ", (double)t->data.reals[k]);
        else
            printf("%ld ", (long)t->data.integers[k]);
    }
    putchar('\n');
}

int main(int count, char **words) {
    size_t size = 0, room = 1 << 16;
    void *file = count >= 2 ? whole_file(words[1], &size) : NULL, *arena = NULL;
    mpnas_net net;
    mpnas_status status = MPNAS_ARENA;
    if (file == NULL) {
        fprintf(stderr, "mpnas_run FILE [all] < inputs: %s\n",
                count >= 2 ? "the file cannot be read" : "name one file");
        return 2;
    }
    while (status == MPNAS_ARENA && room <= (size_t)1 << 30) {
        free(arena);
        arena = malloc(room *= 2);
        status = arena == NULL ? MPNAS_ARENA : mpnas_open(&net, file, size, arena, room);
    }
    if (status == MPNAS_OK) {
        const mpnas_tensor *in = &net.tensor[net.input], *out = &net.tensor[net.output];
        float *x = malloc(in->count * sizeof *x), *y = malloc(out->count * sizeof *y);
        while (x && y && status == MPNAS_OK && fread(x, sizeof *x, in->count, stdin) == in->count) {
            status = mpnas_run(&net, x, y);
            for (uint32_t k = 0; count > 2 && k < net.ops; k++) print(&net.tensor[net.op[k].output]);
            if (count == 2) print(out);
        }
        free(x);
        free(y);
    }
    if (status != MPNAS_OK) fprintf(stderr, "mpnas_run: %s\n", mpnas_words(status));
    free(arena);
    free(file);
    return status == MPNAS_OK ? 0 : 2;
}
