/* Products of bfloat16 matrices, and what learning makes of them before they leave the processor: a
   layer's bias and sigmoid, a weight's step.

   PyTorch's library lays matrices out anew for each product, and with the few rows of a minibatch
   that takes longer than multiplying. Here both sides are laid out in tiles of 1 KB that the
   multiplying instructions take as they are: on the left 16 rows of 32 numbers, on the right 16
   rows of pairs, two rows' numbers of each of 16 columns side by side. Where numbers end, tiles are
   filled up with zeros. */
#include <stdint.h>

#if defined(__linux__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) &&                      \
    defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIDE = 16, DEEP = 32, TILE = SIDE * DEEP };
typedef float
    Sums[4][SIDE * SIDE]; /* of 2 x 2 tiles: upper left, upper right, lower left, lower right */
typedef struct { /* number (i, j) is at[i * row + j], in a transposed one at[j * row + i] */
    const uint16_t *at;
    int64_t row, turned;
} Matrix;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t parts(int64_t size, int64_t each) { return (size + each - 1) / each; }
static inline uint32_t first(int64_t count) {
    return count >= 32 ? UINT32_MAX : count <= 0 ? 0 : (UINT32_C(1) << count) - 1;
}
static inline __m512 to_float32(__m256i coarse) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(coarse), 16));
}
static inline __m256i to_bfloat16(__m512 fine) { return (__m256i)_mm512_cvtneps_pbh(fine); }

/* Linux hands out the registers that hold tiles to who asks: component 18 of the processor's state.
 */
int amx_ready(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

/* Read 16 rows of 32 numbers, of which `rows` and `columns` are there. */
static inline void read_rows(const uint16_t *from, int64_t row, int64_t rows, int64_t columns,
                             __m512i r[SIDE]) {
    for (int64_t i = 0; i < SIDE; i++)
        r[i] = _mm512_maskz_loadu_epi16(i < rows ? first(columns) : 0, from + i * row);
}

/* Read 32 rows of 32 numbers, of which `rows` and `columns` are there, as pairs: 16 rows of the
 * first 16 columns, 16 of the others. */
static inline void read_pairs(const uint16_t *from, int64_t row, int64_t rows, int64_t columns,
                              __m512i r[SIDE], __m512i s[SIDE]) {
    const __m512i front = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0),
                  back = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    for (int64_t i = 0; i < DEEP; i += 2) {
        __m512i even = _mm512_maskz_loadu_epi16(i < rows ? first(columns) : 0, from + i * row);
        __m512i odd =
            _mm512_maskz_loadu_epi16(i + 1 < rows ? first(columns) : 0, from + (i + 1) * row);
        __m512i low = _mm512_unpacklo_epi16(even, odd),
                high = _mm512_unpackhi_epi16(even, odd); /* of each four in turn */
        r[i / 2] = _mm512_permutex2var_epi64(low, front, high),
              s[i / 2] = _mm512_permutex2var_epi64(low, back, high);
    }
}

/* Transpose 16 x 16 pairs. */
static inline void turn_pairs(__m512i r[SIDE]) {
    __m512i t[SIDE];
    for (int i = 0; i < 16; i += 2)
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]),
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++)
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]),
                      r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    for (int h = 0; h < 16; h += 8)
        for (int i = h; i < h + 4; i++)
            t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88),
            t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    for (int i = 0; i < 8; i++)
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88),
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
}

static inline void write_tile(const __m512i r[SIDE], uint16_t *tile) {
    for (int i = 0; i < SIDE; i++)
        _mm512_store_si512(tile + DEEP * i, r[i]);
}

/* Lay out rows i to i + 31 of a left matrix (rows, inner): the tiles of the upper 16 rows, then
 * those of the lower. */
static inline void lay_left(Matrix m, int64_t i, int64_t rows, int64_t inner, uint16_t *tiles) {
    uint16_t *lower = tiles + parts(inner, DEEP) * TILE;
    for (int64_t k = 0; k < inner; k += DEEP, tiles += TILE, lower += TILE) {
        __m512i r[SIDE], s[SIDE];
        if (m.turned) {
            read_pairs(m.at + k * m.row + i, m.row, inner - k, rows - i, r, s), turn_pairs(r),
                turn_pairs(s);
        } else {
            read_rows(m.at + i * m.row + k, m.row, rows - i, inner - k, r);
            read_rows(m.at + (i + SIDE) * m.row + k, m.row, rows - i - SIDE, inner - k, s);
        }
        write_tile(r, tiles), write_tile(s, lower);
    }
}

/* Lay out columns j to j + 31 of a right matrix (inner, columns): the tiles of the first 16
 * columns, then those of the others. */
static inline void lay_right(Matrix m, int64_t j, int64_t inner, int64_t columns, uint16_t *tiles) {
    uint16_t *others = tiles + parts(inner, DEEP) * TILE;
    for (int64_t k = 0; k < inner; k += DEEP, tiles += TILE, others += TILE) {
        __m512i r[SIDE], s[SIDE];
        if (m.turned) {
            read_rows(m.at + j * m.row + k, m.row, columns - j, inner - k, r), turn_pairs(r);
            read_rows(m.at + (j + SIDE) * m.row + k, m.row, columns - j - SIDE, inner - k, s),
                turn_pairs(s);
        } else {
            read_pairs(m.at + k * m.row + j, m.row, inner - k, columns - j, r, s);
        }
        write_tile(r, tiles), write_tile(s, others);
    }
}

static inline void begin_tiles(void) {
    static const struct {
        uint8_t palette, start, none[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shapes __attribute__((aligned(64))) = {
        1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&shapes);
}

/* Multiply 32 rows by 32 columns of `steps` tiles each; of sixteen rows or fewer, the lower sums
 * mean nothing. */
static inline void multiply(const uint16_t *left, const uint16_t *right, int64_t steps,
                            int64_t rows, Sums sums) {
    const uint16_t *lower = left + steps * TILE, *other = right + steps * TILE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (rows > SIDE)
        for (int64_t s = 0; s < steps * TILE;
             s += TILE) { /* reading all four first is twice as fast as reading and multiplying in
                             turns */
            _tile_loadd(4, left + s, 64);
            _tile_loadd(5, lower + s, 64);
            _tile_loadd(6, right + s, 64);
            _tile_loadd(7, other + s, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    else
        for (int64_t s = 0; s < steps * TILE; s += TILE) {
            _tile_loadd(4, left + s, 64);
            _tile_loadd(6, right + s, 64);
            _tile_loadd(7, other + s, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
        }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
}

/* The 16 sums of row i (of 32), columns from 16 * side. */
static inline __m512 row_of(Sums sums, int64_t i, int64_t side) {
    return _mm512_load_ps(sums[i / SIDE * 2 + side] + i % SIDE * SIDE);
}

/* 1 / (1 + e^-x), to a millionth; NaN stays NaN. */
static inline __m512 sigmoid(__m512 x) {
    static const float powers[] = {0.00133336f,  0.00961813f,  0.0555041f,
                                   0.240226507f, 0.693147181f, 1.0f}; /* of 2^y, |y| <= 1/2 */
    __m512 y = _mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f)), sum = _mm512_setzero_ps();
    y = _mm512_max_ps(_mm512_set1_ps(-120.0f), _mm512_min_ps(_mm512_set1_ps(120.0f), y));
    __m512 whole = _mm512_roundscale_ps(y, 0);
    for (int i = 0; i < 6; i++)
        sum = _mm512_fmadd_ps(sum, _mm512_sub_ps(y, whole), _mm512_set1_ps(powers[i]));
    sum = _mm512_add_ps(_mm512_scalef_ps(sum, whole), _mm512_set1_ps(1.0f));
    __m512 close = _mm512_rcp14_ps(sum);
    return _mm512_mul_ps(close, _mm512_fnmadd_ps(sum, close, _mm512_set1_ps(2.0f)));
}

/* out = left right + bias, (rows, columns), the first `n_sigmoid` columns through the sigmoid;
   `bias` may be none. Returns 0, or 1 where memory is short. */
int amx_layer(const uint16_t *left, int64_t left_row, int left_turned, const uint16_t *right,
              int64_t right_row, int right_turned, const uint16_t *bias, uint16_t *out,
              int64_t out_row, int64_t rows, int64_t inner, int64_t columns, int64_t n_sigmoid,
              int threads) {
    const Matrix one = {left, left_row, left_turned}, other = {right, right_row, right_turned};
    const int64_t steps = parts(inner, DEEP), wide = parts(columns, 2 * SIDE),
                  band = 2 * steps * TILE, most = 8; /* bands: 256 rows */
    const int64_t blocks = parts(rows, 2 * SIDE * most),
                  shares = blocks < threads ? least(threads, wide) : 1, share = parts(wide, shares);
    int missing = 0;
#pragma omp parallel num_threads(threads) reduction(| : missing)
    {
        Sums sums __attribute__((aligned(64)));
        uint16_t *laid = aligned_alloc(64, (least(most, parts(rows, 2 * SIDE)) + 1) * band *
                                               sizeof *laid),
                 *beside = laid + band;
        missing |= !laid;
        begin_tiles();
#pragma omp for schedule(static) collapse(2)
        for (int64_t block = 0; block < blocks; block++)
            for (int64_t part = 0; part < shares; part++) {
                const int64_t start = 2 * SIDE * most * block,
                              end = least(start + 2 * SIDE * most, rows);
                if (!laid)
                    continue;
                for (int64_t i = start; i < end; i += 2 * SIDE)
                    lay_left(one, i, end, inner, beside + (i - start) / (2 * SIDE) * band);
                for (int64_t column = 2 * SIDE * share * part;
                     column < least(2 * SIDE * share * (part + 1), columns); column += 2 * SIDE) {
                    const uint32_t there = first(columns - column),
                                   through = first(n_sigmoid - column);
                    const __m512i more = bias ? _mm512_maskz_loadu_epi16(there, bias + column)
                                              : _mm512_setzero_si512();
                    lay_right(other, column, inner, columns, laid);
                    for (int64_t i = start; i < end; i += 2 * SIDE) {
                        multiply(beside + (i - start) / (2 * SIDE) * band, laid, steps, end - i,
                                 sums);
                        for (int64_t r = 0; r < least(2 * SIDE, end - i); r++) {
                            __m512 x = _mm512_add_ps(row_of(sums, r, 0),
                                                     to_float32(_mm512_castsi512_si256(more)));
                            __m512 y = _mm512_add_ps(
                                row_of(sums, r, 1), to_float32(_mm512_extracti64x4_epi64(more, 1)));
                            if (through) {
                                x = _mm512_mask_mov_ps(x, (__mmask16)through, sigmoid(x));
                                y = _mm512_mask_mov_ps(y, (__mmask16)(through >> SIDE), sigmoid(y));
                            }
                            _mm512_mask_storeu_epi16(out + (i + r) * out_row + column, there,
                                                     (__m512i)_mm512_cvtne2ps_pbh(y, x));
                        }
                    }
                }
            }
        _tile_release();
        free(laid);
    }
    return missing;
}

/* v <- momentum v + factor left'right - decayed W, W <- W + v, copy <- W, for left (cases, rows)
   and right (cases, columns); where there is no velocity, W <- W + factor left'right - decayed W.
   Returns 0, or 1 where memory is short. */
int amx_update(float *weight, float *velocity, uint16_t *copy, const uint16_t *left,
               int64_t left_row, const uint16_t *right, int64_t right_row, int64_t cases,
               int64_t rows, int64_t columns, float momentum, float factor, float decayed,
               int threads) {
    const Matrix one = {left, left_row, 1}, other = {right, right_row, 0};
    const int64_t steps = parts(cases, DEEP), tall = parts(rows, 2 * SIDE),
                  wide = parts(columns, 2 * SIDE), band = 2 * steps * TILE;
    const __m512 keep = _mm512_set1_ps(momentum), rate = _mm512_set1_ps(factor),
                 less = _mm512_set1_ps(decayed);
    uint16_t *laid = aligned_alloc(64, wide * band * sizeof *laid);
    int missing = !laid;
    if (missing)
        return 1;
#pragma omp parallel num_threads(threads) reduction(| : missing)
    {
        uint16_t *mine = aligned_alloc(64, band * sizeof *mine);
        Sums *sums = aligned_alloc(64, wide * sizeof *sums);
        const int enough = mine && sums;
        missing |= !enough;
        begin_tiles();
#pragma omp for schedule(static)
        for (int64_t j = 0; j < wide; j++)
            lay_right(other, 2 * SIDE * j, cases, columns, laid + j * band);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < tall; i++) {
            if (!enough)
                continue;
            const int64_t here = least(2 * SIDE, rows - 2 * SIDE * i);
            lay_left(one, 2 * SIDE * i, rows, cases, mine);
            for (int64_t j = 0; j < wide; j++)
                multiply(mine, laid + j * band, steps, here, sums[j]);
            for (int64_t r = 0; r < here; r++) /* whole rows, for memory is read best in order */
                for (int64_t column = 0; column < columns; column += SIDE) {
                    const int64_t at = (2 * SIDE * i + r) * columns + column;
                    const __mmask16 there = (__mmask16)first(columns - column);
                    __m512 now = _mm512_maskz_loadu_ps(there, weight + at);
                    __m512 move = _mm512_mul_ps(
                        rate, row_of(sums[column / (2 * SIDE)], r, column / SIDE % 2));
                    move = _mm512_fnmadd_ps(less, now, move);
                    if (velocity) {
                        move = _mm512_fmadd_ps(keep, _mm512_maskz_loadu_ps(there, velocity + at),
                                               move);
                        _mm512_mask_storeu_ps(velocity + at, there, move);
                    }
                    now = _mm512_add_ps(now, move);
                    _mm512_mask_storeu_ps(weight + at, there, now);
                    _mm256_mask_storeu_epi16(copy + at, there, to_bfloat16(now));
                }
        }
        _tile_release();
        free(mine);
        free(sums);
    }
    free(laid);
    return missing;
}
#else
int amx_ready(void) { return 0; }
#endif
