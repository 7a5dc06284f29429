/* Kernels for a processor: steps that PyTorch makes one after the other, each a pass through
   memory, made in one. `cpu_kernels.py` has them built by the machine's own compiler and says what
   each is for. bfloat16 numbers are the upper halves of float32 ones. */
#include <stdint.h>
#include <string.h>

static inline float to_float32(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline uint16_t to_bfloat16(float value) { /* to the nearest, ties to even; NaN stays NaN */
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return value == value ? (uint16_t)rounded : (uint16_t)0x7fc0;
}

void weight_update(float *weight, float *velocity, const uint16_t *change, uint16_t *copy,
                   int64_t size, float momentum, float factor, float decayed, int threads) {
#pragma omp parallel for simd schedule(static) num_threads(threads)
    for (int64_t i = 0; i < size; i++) {
        float moved = momentum * velocity[i] + factor * to_float32(change[i]) - decayed * weight[i];
        velocity[i] = moved;
        weight[i] += moved;
        copy[i] = to_bfloat16(weight[i]);
    }
}

/* v <- momentum v + factor times the sum of the rows, b <- b + v, copy <- b where there is one. */
#define BIAS_UPDATE(NAME, TYPE, READ)                                                              \
    void NAME(float *bias, float *velocity, uint16_t *copy, const TYPE *rows, int64_t count,       \
              int64_t units, float momentum, float factor, int threads) {                          \
        enum { SHARE = 64 };                                                                       \
        _Pragma("omp parallel for schedule(static) num_threads(threads)")                          \
        for (int64_t start = 0; start < units; start += SHARE) {                                   \
            int64_t wide = units - start < SHARE ? units - start : SHARE;                          \
            float sum[SHARE] = {0};                                                                \
            for (int64_t i = 0; i < count; i++)                                                    \
                for (int64_t j = 0; j < wide; j++)                                                 \
                    sum[j] += READ(rows[i * units + start + j]);                                   \
            for (int64_t j = 0; j < wide; j++) {                                                   \
                float moved = momentum * velocity[start + j] + factor * sum[j];                    \
                velocity[start + j] = moved;                                                       \
                bias[start + j] += moved;                                                          \
                if (copy)                                                                          \
                    copy[start + j] = to_bfloat16(bias[start + j]);                                \
            }                                                                                      \
        }                                                                                          \
    }
BIAS_UPDATE(bias_update_float32, float, )
BIAS_UPDATE(bias_update_bfloat16, uint16_t, to_float32)

static inline uint64_t hashed(uint64_t begin,
                              int64_t i) { /* SplitMix64, as `hashed` in random_bits.py */
    uint64_t word = begin + (uint64_t)i * UINT64_C(0x9E3779B97F4A7C15);
    word = (word ^ (word >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94D049BB133111EB);
    return word ^ (word >> 31);
}

/* The numbers and thresholds of bernoulli_16bit: number k of word i belongs to unit 4i + k, lowest
 * bits first. */
#define BERNOULLI(NAME, TYPE, READ, ONE)                                                           \
    void NAME(const TYPE *mean, TYPE *states, int64_t size, uint64_t begin, float offset,          \
              int threads) {                                                                       \
        _Pragma("omp parallel for simd schedule(static) num_threads(threads)")                     \
        for (int64_t i = 0; i < size / 4; i++) {                                                   \
            uint64_t word = hashed(begin, i);                                                      \
            for (int k = 0; k < 4; k++)                                                            \
                states[4 * i + k] =                                                                \
                    (float)(int16_t)(word >> (16 * k)) < offset + 65536.0f * READ(mean[4 * i + k]) \
                        ? ONE                                                                      \
                        : 0;                                                                       \
        }                                                                                          \
        uint64_t word = hashed(begin, size / 4);                                                   \
        for (int64_t j = size / 4 * 4; j < size; j++)                                              \
            states[j] =                                                                            \
                (float)(int16_t)(word >> (16 * (j % 4))) < offset + 65536.0f * READ(mean[j]) ? ONE \
                                                                                             : 0;  \
    }
BERNOULLI(bernoulli_float32, float, , 1.0f)
BERNOULLI(bernoulli_bfloat16, uint16_t, to_float32, 0x3f80)

/* Returns how many of the rows that are asked for are not there; these are left as they are. */
#define GATHER(NAME, TYPE, WRITE)                                                                  \
    int64_t NAME(const uint8_t *cases, int64_t count, const int64_t *index, TYPE *out,             \
                 int64_t rows, int64_t columns, int threads) {                                     \
        int64_t missing = 0;                                                                       \
        _Pragma("omp parallel for schedule(static) num_threads(threads) reduction(+ : missing)")   \
        for (int64_t row = 0; row < rows; row++) {                                                 \
            if (index[row] < 0 || index[row] >= count) {                                           \
                missing++;                                                                         \
                continue;                                                                          \
            }                                                                                      \
            const uint8_t *from = cases + index[row] * columns;                                    \
            TYPE *to = out + row * columns;                                                        \
            for (int64_t j = 0; j < columns; j++)                                                  \
                to[j] = WRITE(from[j] / 255.0f);                                                   \
        }                                                                                          \
        return missing;                                                                            \
    }
GATHER(gather_float32, float, )
GATHER(gather_bfloat16, uint16_t, to_bfloat16)
