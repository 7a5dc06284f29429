/* Kernels by hand for a processor: steps that PyTorch makes one after the other, each a pass through memory, made in one.
   `native.py` has them built by the machine's own compiler and says what each is for. bfloat16 numbers are the upper halves of float32 ones. */
#include <stdint.h>
#include <string.h>

static inline float fine(uint16_t coarse) {
    uint32_t bits = (uint32_t)coarse << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline uint16_t coarse(float value) { /* to the nearest, ties to even; NaN stays NaN */
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return value == value ? (uint16_t)rounded : (uint16_t)0x7fc0;
}

void follow(float *weight, float *increment, const uint16_t *change, uint16_t *twin, int64_t size, float momentum, float factor, float decayed,
            int threads) {
#pragma omp parallel for simd schedule(static) num_threads(threads)
    for (int64_t i = 0; i < size; i++) {
        float moved = momentum * increment[i] + factor * fine(change[i]) - decayed * weight[i];
        increment[i] = moved;
        weight[i] += moved;
        twin[i] = coarse(weight[i]);
    }
}

/* i <- momentum i + factor times the sum of the rows, b <- b + i, twin <- b where there is one. */
#define LEAN(NAME, TYPE, READ)                                                                             \
    void NAME(float *bias, float *increment, uint16_t *twin, const TYPE *rows, int64_t count, int64_t units, \
              float momentum, float factor, int threads) {                                                 \
        enum { SHARE = 64 };                                                                               \
        _Pragma("omp parallel for schedule(static) num_threads(threads)")                                  \
        for (int64_t start = 0; start < units; start += SHARE) {                                           \
            int64_t wide = units - start < SHARE ? units - start : SHARE;                                  \
            float sum[SHARE] = {0};                                                                        \
            for (int64_t i = 0; i < count; i++)                                                            \
                for (int64_t j = 0; j < wide; j++) sum[j] += READ(rows[i * units + start + j]);            \
            for (int64_t j = 0; j < wide; j++) {                                                           \
                float moved = momentum * increment[start + j] + factor * sum[j];                           \
                increment[start + j] = moved;                                                              \
                bias[start + j] += moved;                                                                  \
                if (twin) twin[start + j] = coarse(bias[start + j]);                                       \
            }                                                                                              \
        }                                                                                                  \
    }
LEAN(lean_fine, float, )
LEAN(lean_coarse, uint16_t, fine)

static inline uint64_t hashed(uint64_t begin, int64_t i) { /* SplitMix64, as random_words in rng.py */
    uint64_t word = begin + (uint64_t)i * UINT64_C(0x9E3779B97F4A7C15);
    word = (word ^ (word >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94D049BB133111EB);
    return word ^ (word >> 31);
}

/* The numbers and thresholds of Bernoulli.sample: number k of word i belongs to unit 4i + k, lowest bits first. */
#define DRAW(NAME, TYPE, READ, ONE)                                                                        \
    void NAME(const TYPE *mean, TYPE *states, int64_t size, uint64_t begin, float offset, int threads) {   \
        _Pragma("omp parallel for simd schedule(static) num_threads(threads)")                             \
        for (int64_t i = 0; i < size / 4; i++) {                                                           \
            uint64_t word = hashed(begin, i);                                                              \
            for (int k = 0; k < 4; k++)                                                                    \
                states[4 * i + k] = (float)(int16_t)(word >> (16 * k)) < offset + 65536.0f * READ(mean[4 * i + k]) ? ONE : 0; \
        }                                                                                                  \
        uint64_t word = hashed(begin, size / 4);                                                           \
        for (int64_t j = size / 4 * 4; j < size; j++)                                                      \
            states[j] = (float)(int16_t)(word >> (16 * (j % 4))) < offset + 65536.0f * READ(mean[j]) ? ONE : 0; \
    }
DRAW(draw_fine, float, , 1.0f)
DRAW(draw_coarse, uint16_t, fine, 0x3f80)

/* Returns how many of the rows that are asked for are not there; these are left as they are. */
#define GATHER(NAME, TYPE, WRITE)                                                                          \
    int64_t NAME(const uint8_t *cases, int64_t count, const int64_t *index, TYPE *out, int64_t rows,       \
                 int64_t columns, int threads) {                                                           \
        int64_t missing = 0;                                                                               \
        _Pragma("omp parallel for schedule(static) num_threads(threads) reduction(+ : missing)")           \
        for (int64_t row = 0; row < rows; row++) {                                                         \
            if (index[row] < 0 || index[row] >= count) {                                                   \
                missing++;                                                                                 \
                continue;                                                                                  \
            }                                                                                              \
            const uint8_t *from = cases + index[row] * columns;                                            \
            TYPE *to = out + row * columns;                                                                \
            for (int64_t j = 0; j < columns; j++) to[j] = WRITE(from[j] / 255.0f);                         \
        }                                                                                                  \
        return missing;                                                                                    \
    }
GATHER(gather_fine, float, )
GATHER(gather_coarse, uint16_t, coarse)
