/* One decoding step of a GPT on a CPU: the logits after one new token of each text.

   Computes what Transformer.forward computes with a cache, in float32 from weights of float32, bfloat16 or int8.
   Knows numbers in memory and nothing else. fused.py has the same structs, and describes a model with them.

   The whole step is one parallel region. Each thread multiplies its share of a matrix's rows, so that memory is read
   by all of them at once; they wait for each other five times a layer. What is short (the residual stream, the norms)
   each computes for itself, so that nobody waits for it. A row's sum is taken in the same order by any number of
   threads: the same text comes out. */

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

/* Rows of a matrix and texts that are multiplied together: as many sums as stay in registers. */
#define ROWS 4
#define TEXTS 4
#define LARGE (1 << 20) /* numbers of a matrix from which it does not stay in a core's cache */
#define CACHE_LINE 64

#define INLINE static inline __attribute__((always_inline))

enum { FLOAT32, BFLOAT16, INT8 };
enum { GELU, RELU2, SWIGLU };
enum { NO_NORM, RMS_NORM, LAYER_NORM };

typedef struct {
    const void *values; /* (rows, columns); NULL: there is no such matrix */
    const float *scales, *bias; /* (rows) each, or NULL: scales are those of int8 */
    int64_t type, rows, columns;
} Matrix;

typedef struct {
    const float *weight, *bias; /* (columns) each, or NULL */
    int64_t kind;
} Norm;

typedef struct {
    Norm attn_norm, mlp_norm;
    Matrix qkv, attn_proj, gate, fc, mlp_proj;
} Layer;

typedef struct {
    int64_t n_layer, n_head, n_kv_head, head_dim, n_embd, window, rotary_dim;
    int64_t activation, norms_first, parallel, qk_norm, cache_type;
    float eps, softcap; /* softcap 0: none */
    const float *cos, *sin; /* (places, head_dim) each; NULL: nothing is rotated */
    Matrix tok_emb, pos_emb, head;
    Norm final_norm;
    const Layer *layers;
} Model;

typedef struct {
    int64_t texts, places, threads;
    const int64_t *tokens, *positions; /* (texts) each */
    void *const *cache; /* of each layer, (2, texts, n_kv_head, places, head_dim) */
    float *heads, *mixed, *hidden, *delta; /* (texts, ...) each, shared by the threads */
    float *own; /* (threads, own_size) */
    int64_t own_size;
    float *logits; /* (texts, vocabulary) */
} Step;

/* What fused.py's idea of these structs is held against. */
const int64_t gptforge_sizes[] = {sizeof(Matrix), sizeof(Norm), sizeof(Layer), sizeof(Model), sizeof(Step)};

/* Numbers ------------------------------------------------------------------------------------------------------ */

INLINE float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE float get(const void *values, int64_t at, int64_t type) {
    if (type == INT8) return ((const int8_t *)values)[at];
    if (type == BFLOAT16) return of_bits((uint32_t)((const uint16_t *)values)[at] << 16);
    return ((const float *)values)[at];
}

INLINE void put(void *values, int64_t at, float x, int64_t type) {
    if (type == BFLOAT16) { /* to the nearest, ties to even */
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        ((uint16_t *)values)[at] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    } else {
        ((float *)values)[at] = x;
    }
}

INLINE const void *from(const void *values, int64_t at, int64_t type) {
    return (const char *)values + at * (type == INT8 ? 1 : type == BFLOAT16 ? 2 : 4);
}

/* e^x in a form that compilers make vector instructions of: 2^n times a polynomial, with the constants of Cephes'
   expf. fmaf, because the two steps to the remainder must not be put together. */
INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float n = floorf(x * 1.44269504f + 0.5f);
    float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, x));
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * r * r + r + 1.0f) * of_bits((uint32_t)((int32_t)n + 127) << 23);
}

INLINE float tangent(float x) { return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f); }

/* The tanh formula of GELU, as the model has it. */
INLINE float gelu(float x) { return 0.5f * x * (1.0f + tangent(0.797884561f * (x + 0.044715f * x * x * x))); }

/* Products ----------------------------------------------------------------------------------------------------- */

/* The part [*first, *last) of n that is this thread's, in whole blocks. */
static void share(int64_t n, int64_t block, int64_t *first, int64_t *last) {
    int64_t blocks = (n + block - 1) / block, threads = omp_get_num_threads(), me = omp_get_thread_num();
    *first = blocks * me / threads * block;
    *last = blocks * (me + 1) / threads * block;
    if (*last > n) *last = n;
}

/* y[t * step + r] = the sum of w[r] * x[t], for rows of w and x of n numbers that follow each other. */
INLINE void tile(
    const void *w, const float *x, int64_t n, float *y, int64_t step, int64_t rows, int64_t texts, int64_t type
) {
    float sums[TEXTS * ROWS] = {0};
    for (int64_t i = 0; i < n; i++) {
#pragma GCC unroll 8
        for (int64_t t = 0; t < texts; t++)
#pragma GCC unroll 8
            for (int64_t r = 0; r < rows; r++) sums[t * ROWS + r] += get(w, r * n + i, type) * x[t * n + i];
    }
    for (int64_t t = 0; t < texts; t++)
        for (int64_t r = 0; r < rows; r++) y[t * step + r] = sums[t * ROWS + r];
}

INLINE float dot(const void *w, const float *x, int64_t n, int64_t type) {
    float y;
    tile(w, x, n, &y, 0, 1, 1, type);
    return y;
}

/* Asks for the rows after these. Rows of few bytes end before a CPU sees by itself where the reading goes. */
INLINE void fetch_ahead(const Matrix *m, const void *w, int64_t type) {
    if (type == FLOAT32 || m->rows * m->columns < LARGE) return;
    const char *next = from(w, ROWS * m->columns, type), *end = from(w, 2 * ROWS * m->columns, type);
    for (; next < end; next += CACHE_LINE) __builtin_prefetch(next);
}

INLINE void some_rows(const Matrix *m, const float *x, int64_t texts, float *y, int64_t type) {
    int64_t n = m->columns, first, last;
    share(m->rows, ROWS, &first, &last);
    for (int64_t row = first; row < last; row += ROWS) {
        int64_t here = row + ROWS <= last ? ROWS : last - row, t = 0;
        const void *w = from(m->values, row * n, type);
        float *out = y + row;
        fetch_ahead(m, w, type);
        if (here == ROWS) {
            for (; t + TEXTS <= texts; t += TEXTS) tile(w, x + t * n, n, out + t * m->rows, m->rows, ROWS, TEXTS, type);
            for (; t < texts; t++) tile(w, x + t * n, n, out + t * m->rows, 0, ROWS, 1, type);
        }
        for (; t < texts; t++)
            for (int64_t r = 0; r < here; r++) out[t * m->rows + r] = dot(from(w, r * n, type), x + t * n, n, type);
        for (t = 0; t < texts; t++)
            for (int64_t r = 0; r < here; r++) {
                float *sum = out + t * m->rows + r;
                if (m->scales) *sum *= m->scales[row + r];
                if (m->bias) *sum += m->bias[row + r];
            }
    }
}

/* This thread's rows of y (texts, rows) = x (texts, columns) times the matrix, and its bias. */
static void product(const Matrix *m, const float *x, int64_t texts, float *y) {
    if (m->type == INT8)
        some_rows(m, x, texts, y, INT8);
    else if (m->type == BFLOAT16)
        some_rows(m, x, texts, y, BFLOAT16);
    else
        some_rows(m, x, texts, y, FLOAT32);
}

/* The parts of a block ----------------------------------------------------------------------------------------- */

static void normalise_one(const Norm *norm, float eps, const float *x, float *y, int64_t n) {
    float mean = 0, square = 0;
    if (norm->kind == LAYER_NORM) {
        for (int64_t i = 0; i < n; i++) mean += x[i];
        mean /= n;
    }
    for (int64_t i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
    float scale = 1.0f / sqrtf(square / n + eps);
    for (int64_t i = 0; i < n; i++) {
        float z = (x[i] - mean) * scale * (norm->weight ? norm->weight[i] : 1.0f);
        y[i] = norm->bias ? z + norm->bias[i] : z;
    }
}

/* All of x (texts, n_embd), which may be y. */
static void normalise(const Model *m, const Norm *norm, const float *x, float *y, int64_t texts) {
    if (norm->kind == NO_NORM) {
        if (x != y) memcpy(y, x, texts * m->n_embd * sizeof *y);
        return;
    }
    for (int64_t t = 0; t < texts; t++) normalise_one(norm, m->eps, x + t * m->n_embd, y + t * m->n_embd, m->n_embd);
}

/* A query or key, in place: normalised and rotated to its position. */
static void prepare(const Model *m, float *x, int64_t position) {
    static const Norm plain = {NULL, NULL, RMS_NORM};
    if (m->qk_norm) normalise_one(&plain, m->eps, x, x, m->head_dim);
    if (!m->cos) return;
    const float *cos = m->cos + position * m->head_dim, *sin = m->sin + position * m->head_dim;
    int64_t half = m->rotary_dim / 2;
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cos[i] + b * sin[i];
        x[i + half] = b * cos[i + half] + a * sin[i + half];
    }
}

/* y (n) = what the query q sees in `seen` keys and values; p (seen) is room for its weights. */
INLINE void look(
    const float *q, const void *k, const void *v, int64_t seen, int64_t n, float *p, float *y, int64_t type
) {
    float scale = 1.0f / sqrtf((float)n), top = -INFINITY, sum = 0;
    int64_t s = 0;
    for (; s + ROWS <= seen; s += ROWS) tile(from(k, s * n, type), q, n, p + s, 0, ROWS, 1, type);
    for (; s < seen; s++) p[s] = dot(from(k, s * n, type), q, n, type);
    for (s = 0; s < seen; s++) top = p[s] > top ? p[s] : top;
    for (s = 0; s < seen; s++) sum += p[s] = exponential(scale * (p[s] - top));
    for (s = 0; s < seen; s++) p[s] /= sum;
    memset(y, 0, n * sizeof *y);
    for (s = 0; s + 4 <= seen; s += 4)
        for (int64_t i = 0; i < n; i++)
            y[i] += p[s] * get(v, s * n + i, type) + p[s + 1] * get(v, (s + 1) * n + i, type)
                  + p[s + 2] * get(v, (s + 2) * n + i, type) + p[s + 3] * get(v, (s + 3) * n + i, type);
    for (; s < seen; s++)
        for (int64_t i = 0; i < n; i++) y[i] += p[s] * get(v, s * n + i, type);
}

/* Attention for this thread's share of all (text, key head): writes the new token's key and value, then looks. */
static void attend(const Model *m, const Step *s, int64_t layer, float *p) {
    int64_t n = m->head_dim, H = m->n_head, K = m->n_kv_head, group = H / K, type = m->cache_type, first, last;
    share(s->texts * K, 1, &first, &last);
    for (int64_t at = first; at < last; at++) {
        int64_t text = at / K, head = at % K, position = s->positions[text];
        float *q = s->heads + (text * (H + 2 * K) + head * group) * n, *y = s->mixed + (text * H + head * group) * n;
        float *k = s->heads + (text * (H + 2 * K) + H + head) * n, *v = k + K * n;
        const void *keys = from(s->cache[layer], at * s->places * n, type);
        const void *values = from(keys, s->texts * K * s->places * n, type);
        prepare(m, k, position);
        for (int64_t i = 0; i < n; i++) {
            put((void *)keys, position * n + i, k[i], type);
            put((void *)values, position * n + i, v[i], type);
        }
        int64_t start = m->window && position >= m->window ? position - m->window + 1 : 0, seen = position + 1 - start;
        keys = from(keys, start * n, type), values = from(values, start * n, type);
        for (int64_t g = 0; g < group; g++, q += n, y += n) {
            prepare(m, q, position);
            if (type == BFLOAT16)
                look(q, keys, values, seen, n, p, y, BFLOAT16);
            else
                look(q, keys, values, seen, n, p, y, FLOAT32);
        }
    }
}

/* This thread's share of the feed-forward layer's hidden values. */
static void widen(const Model *m, const Layer *l, const Step *s, const float *h) {
    int64_t width = l->fc.rows, first, last;
    float *gates = s->hidden + s->texts * width;
    product(&l->fc, h, s->texts, s->hidden);
    if (m->activation == SWIGLU) product(&l->gate, h, s->texts, gates);
    share(width, ROWS, &first, &last);
    for (int64_t t = 0; t < s->texts; t++) {
        float *x = s->hidden + t * width, *g = gates + t * width;
        if (m->activation == GELU)
            for (int64_t i = first; i < last; i++) x[i] = gelu(x[i]);
        else if (m->activation == RELU2)
            for (int64_t i = first; i < last; i++) x[i] = x[i] > 0 ? x[i] * x[i] : 0;
        else
            for (int64_t i = first; i < last; i++) x[i] *= g[i] / (1.0f + exponential(-g[i]));
    }
}

/* The step ----------------------------------------------------------------------------------------------------- */

static void embed(const Model *m, const Step *s, float *x) {
    for (int64_t t = 0; t < s->texts; t++)
        for (int64_t i = 0, n = m->n_embd; i < n; i++) {
            x[t * n + i] = get(m->tok_emb.values, s->tokens[t] * n + i, m->tok_emb.type);
            if (m->pos_emb.values) x[t * n + i] += get(m->pos_emb.values, s->positions[t] * n + i, m->pos_emb.type);
        }
}

static void add(float *x, const float *delta, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] += delta[i];
}

/* x (texts, n_embd) through one block; h is room for as much, p for the weights of attention. All three are the
   thread's own, and each thread has the same x. Where h is what norms give before a layer, it is x itself after. */
static void block(const Model *m, const Step *s, int64_t layer, float *x, float *h, float *p) {
    const Layer *l = m->layers + layer;
    int64_t n = s->texts * m->n_embd;
    if (m->norms_first)
        normalise(m, &l->attn_norm, x, h, s->texts);
    else
        h = x;
    product(&l->qkv, h, s->texts, s->heads);
#pragma omp barrier
    attend(m, s, layer, p);
#pragma omp barrier
    product(&l->attn_proj, s->mixed, s->texts, s->delta);
#pragma omp barrier
    add(x, s->delta, n);
    if (!m->parallel) normalise(m, m->norms_first ? &l->mlp_norm : &l->attn_norm, x, h, s->texts);
    widen(m, l, s, h);
#pragma omp barrier
    product(&l->mlp_proj, s->hidden, s->texts, s->delta);
#pragma omp barrier
    add(x, s->delta, n);
    if (!m->norms_first) normalise(m, &l->mlp_norm, x, x, s->texts);
}

static void all_layers(const Model *m, const Step *s) {
    int64_t n = s->texts * m->n_embd, first, last;
    float *x = s->own + omp_get_thread_num() * s->own_size, *h = x + n, *p = h + n;
    embed(m, s, x);
    for (int64_t layer = 0; layer < m->n_layer; layer++) block(m, s, layer, x, h, p);
    normalise(m, &m->final_norm, x, h, s->texts);
    product(&m->head, h, s->texts, s->logits);
    if (!m->softcap) return;
    share(m->head.rows, ROWS, &first, &last);
    for (int64_t t = 0; t < s->texts; t++)
        for (int64_t i = first; i < last; i++) {
            float *y = s->logits + t * m->head.rows + i;
            *y = m->softcap * tangent(*y / m->softcap);
        }
}

/* 0, or 1 if a token is none of the vocabulary: then nothing has been computed. */
int gptforge_step(const Model *m, const Step *s) {
    for (int64_t t = 0; t < s->texts; t++)
        if (s->tokens[t] < 0 || s->tokens[t] >= m->tok_emb.rows) return 1;
#pragma omp parallel num_threads(s->threads)
    all_layers(m, s);
    return 0;
}
