/* The arithmetic of combination.py, number_format.py, sign_election.py and rank_mask.py in one pass over memory, to the
 * same bits.
 *
 * Every product and sum is rounded by itself: compile with -ffp-contract=off and without -ffast-math. Numbers are worked
 * on in tiles that stay in the first cache. Stored numbers are float32, or bfloat16, the upper halves of such.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One function for each set of vector instructions; the processor that runs it chooses. */
#if defined(__x86_64__) && defined(__linux__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif
#define INLINE static inline __attribute__((always_inline))

enum { FLOAT32 = 0, BFLOAT16 = 1 };

/* Bit patterns without the sign: from here on infinite or NaN, and from here on rounded to an infinite bfloat16. */
#define NONFINITE_FROM 0x7f800000u
#define ROUNDED_TO_INFINITY_FROM 0x7f7f8000u

#define SIGNLESS 0x7fffffffu
#define UPPER_HALF 0xffff0000u
#define LITTLE_ENDIAN_WORDS (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

#define TILE 2048

/* combination.STRETCH, and the numbers that numpy's pairwise sum adds up in eight rows before it goes by pairs. */
#define STRETCH 4096
#define PAIRWISE_BLOCK 128
#define ROWS 8
#define STRETCH_BLOCKS (STRETCH / PAIRWISE_BLOCK)

INLINE uint32_t bits_of(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

INLINE float float_of(uint32_t bits) {
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

INLINE float number_at(const void *stored, int kind, size_t i) {
    return kind == FLOAT32 ? ((const float *)stored)[i] : float_of((uint32_t)((const uint16_t *)stored)[i] << 16);
}

/* Inputs that are summed in registers, the way from and to memory once; more go through a tile in the first cache. */
#define IN_REGISTERS 3

/* The bits of a number rounded to bfloat16, the lower half still to be cut off. */
INLINE uint32_t rounded(uint32_t bits) { return bits + 0x7fffu + (bits >> 16 & 1u); }

INLINE uint32_t larger(uint32_t one, uint32_t other) { return one > other ? one : other; }

/* Stores `count` numbers from `start` on and returns the largest bit pattern among them, signs left out. */
INLINE uint32_t narrowed(const float *numbers, void *out, int out_kind, size_t start, size_t count) {
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = bits_of(numbers[i]);
        largest = larger(largest, bits & SIGNLESS);
        if (out_kind == FLOAT32)
            ((float *)out)[start + i] = numbers[i];
        else
            ((uint16_t *)out)[start + i] = (uint16_t)(rounded(bits) >> 16);
    }
    return largest;
}

/* One input's term, share * (number - pivot), or without a pivot share * number. */
INLINE float term(float number, float share, int has_pivot, float pivot) {
    return (has_pivot ? number - pivot : number) * share;
}

/* The sum of some inputs at one place. */
INLINE float sum_at(const float *numbers, const float *shares, int count, int has_pivot, float pivot) {
    float total = term(numbers[0], shares[0], has_pivot, pivot);
    for (int m = 1; m < count; m++) total += term(numbers[m], shares[m], has_pivot, pivot);
    return has_pivot ? pivot + total : total;
}

/* Sums of bfloat16 in bfloat16, two in a word, so that none has to be moved to another place of a vector. `count` and
 * whether there is a pivot are known where this is compiled. Returns the largest bit pattern, signs left out. */
INLINE uint32_t summed_words(const void *const *inputs, const float *shares, int count, const uint32_t *pivot,
                             uint32_t *restrict out, size_t words) {
    const uint32_t *input[IN_REGISTERS];
    float share[IN_REGISTERS], low[IN_REGISTERS], high[IN_REGISTERS];
    uint32_t largest = 0;
    for (int m = 0; m < count; m++) {
        input[m] = inputs[m];
        share[m] = shares[m];
    }
    for (size_t i = 0; i < words; i++) {
        for (int m = 0; m < count; m++) {
            low[m] = float_of(input[m][i] << 16);
            high[m] = float_of(input[m][i] & UPPER_HALF);
        }
        uint32_t at_pivot = pivot ? pivot[i] : 0;
        uint32_t even = bits_of(sum_at(low, share, count, pivot != NULL, float_of(at_pivot << 16)));
        uint32_t odd = bits_of(sum_at(high, share, count, pivot != NULL, float_of(at_pivot & UPPER_HALF)));
        largest = larger(largest, larger(even & SIGNLESS, odd & SIGNLESS));
        out[i] = rounded(even) >> 16 | (rounded(odd) & UPPER_HALF);
    }
    return largest;
}

/* Sums a few inputs so far as whole words go; says in `words` how far that is. */
INLINE uint32_t summed_few(const void *const *inputs, const float *shares, int count, const void *pivot, void *out,
                           size_t words) {
#define SUMMED(count) \
    pivot ? summed_words(inputs, shares, count, pivot, out, words) : summed_words(inputs, shares, count, NULL, out, words)
    return count == 1 ? SUMMED(1) : count == 2 ? SUMMED(2) : SUMMED(3);
#undef SUMMED
}

/* The same for all types and any number of inputs, from number `first` on. */
INLINE uint32_t summed_tiles(const void *const *inputs, const float *shares, int inputs_count, const void *pivot,
                             int kind, void *out, int out_kind, size_t first, size_t numbers) {
    float total[TILE];
    uint32_t largest = 0;
    for (size_t start = first; start < numbers; start += TILE) {
        size_t count = numbers - start < TILE ? numbers - start : TILE;
        if (inputs_count == 0)
            for (size_t i = 0; i < count; i++) total[i] = number_at(pivot, kind, start + i);
        for (int m = 0; m < inputs_count; m++) {
            const void *x = inputs[m];
            float share = shares[m];
            if (pivot && m == 0)
                for (size_t i = 0; i < count; i++)
                    total[i] = (number_at(x, kind, start + i) - number_at(pivot, kind, start + i)) * share;
            else if (pivot)
                for (size_t i = 0; i < count; i++)
                    total[i] += (number_at(x, kind, start + i) - number_at(pivot, kind, start + i)) * share;
            else if (m == 0)
                for (size_t i = 0; i < count; i++) total[i] = number_at(x, kind, start + i) * share;
            else
                for (size_t i = 0; i < count; i++) total[i] += number_at(x, kind, start + i) * share;
        }
        if (pivot && inputs_count)
            for (size_t i = 0; i < count; i++) total[i] = number_at(pivot, kind, start + i) + total[i];
        largest = larger(largest, narrowed(total, out, out_kind, start, count));
    }
    return largest;
}

INLINE int summed(const void *const *inputs, const float *shares, int count, const void *pivot, int kind, void *out,
                  int out_kind, size_t numbers) {
    size_t first = 0;
    uint32_t largest = 0;
    if (LITTLE_ENDIAN_WORDS && kind == BFLOAT16 && out_kind == BFLOAT16 && 0 < count && count <= IN_REGISTERS) {
        first = numbers / 2 * 2;
        largest = summed_few(inputs, shares, count, pivot, out, first / 2);
    }
    largest = larger(largest, summed_tiles(inputs, shares, count, pivot, kind, out, out_kind, first, numbers));
    return largest < (out_kind == FLOAT32 ? NONFINITE_FROM : ROUNDED_TO_INFINITY_FROM);
}

/* pivot + sum of shares[m] * (inputs[m] - pivot), or without a pivot sum of shares[m] * inputs[m], into `out`.
 * Returns 1 where every number of the result is finite; else what stands in `out` is of no use. */
FOR_EACH_PROCESSOR
int weighted_sum(const void *const *inputs, const float *shares, int inputs_count, const void *pivot, int kind,
                 void *out, int out_kind, size_t numbers) {
    if (kind == BFLOAT16 && out_kind == BFLOAT16)
        return summed(inputs, shares, inputs_count, pivot, BFLOAT16, out, BFLOAT16, numbers);
    if (kind == BFLOAT16) return summed(inputs, shares, inputs_count, pivot, BFLOAT16, out, FLOAT32, numbers);
    if (out_kind == BFLOAT16) return summed(inputs, shares, inputs_count, pivot, FLOAT32, out, BFLOAT16, numbers);
    return summed(inputs, shares, inputs_count, pivot, FLOAT32, out, FLOAT32, numbers);
}

/* The sum of left * right over one block, as numpy's pairwise sum has it. */
INLINE float block_sum(const float *left, const float *right) {
    float rows[ROWS];
    for (size_t j = 0; j < ROWS; j++) rows[j] = left[j] * right[j];
    for (size_t i = ROWS; i < PAIRWISE_BLOCK; i += ROWS)
        for (size_t j = 0; j < ROWS; j++) rows[j] += left[i + j] * right[i + j];
    return ((rows[0] + rows[1]) + (rows[2] + rows[3])) + ((rows[4] + rows[5]) + (rows[6] + rows[7]));
}

/* The sum of the blocks of one stretch, by pairs, in place. */
INLINE float sum_by_pairs(float *sums) {
    for (size_t left_over = STRETCH_BLOCKS; left_over > 1; left_over /= 2)
        for (size_t i = 0; i < left_over / 2; i++) sums[i] = sums[2 * i] + sums[2 * i + 1];
    return sums[0];
}

INLINE void summed_products(const void *const *inputs, int inputs_count, const void *pivot, int kind, size_t stretches,
                            float *room, float *out) {
    float *sums = room + (size_t)inputs_count * PAIRWISE_BLOCK;
    for (size_t stretch = 0; stretch < stretches; stretch++) {
        for (size_t block = 0; block < STRETCH_BLOCKS; block++) {
            size_t start = stretch * STRETCH + block * PAIRWISE_BLOCK;
            for (int m = 0; m < inputs_count; m++) {
                float *own = room + (size_t)m * PAIRWISE_BLOCK;
                if (pivot)
                    for (size_t i = 0; i < PAIRWISE_BLOCK; i++)
                        own[i] = number_at(inputs[m], kind, start + i) - number_at(pivot, kind, start + i);
                else
                    for (size_t i = 0; i < PAIRWISE_BLOCK; i++) own[i] = number_at(inputs[m], kind, start + i);
            }
            size_t pair = 0;
            for (int row = 0; row < inputs_count; row++)
                for (int column = row; column < inputs_count; column++, pair++)
                    sums[pair * STRETCH_BLOCKS + block] = block_sum(room + (size_t)row * PAIRWISE_BLOCK,
                                                                    room + (size_t)column * PAIRWISE_BLOCK);
        }
        size_t pairs = (size_t)inputs_count * ((size_t)inputs_count + 1) / 2;
        for (size_t pair = 0; pair < pairs; pair++)
            out[pair * stretches + stretch] = sum_by_pairs(sums + pair * STRETCH_BLOCKS);
    }
}

/* For every pair of inputs, (0,0), (0,1), ..., (1,1), ..., the sums of their products over each of `stretches`
 * stretches, pair after pair in `out`. With a pivot, of inputs less the pivot. `room` holds PAIRWISE_BLOCK numbers for
 * each input and each pair. */
FOR_EACH_PROCESSOR
void product_sums(const void *const *inputs, int inputs_count, const void *pivot, int kind, size_t stretches,
                  float *room, float *out) {
    if (kind == BFLOAT16)
        summed_products(inputs, inputs_count, pivot, BFLOAT16, stretches, room, out);
    else
        summed_products(inputs, inputs_count, pivot, FLOAT32, stretches, room, out);
}

/* sign_election.elected_total_: the weighted sum of the deltas that have the sign of the sum of all, with `normalize` over
 * the sum of their weights, into `out`. Returns 1 where every number of the result is finite. */
FOR_EACH_PROCESSOR
int elected_total(const float *const *deltas, const float *weights, int count, int normalize, size_t numbers,
                  float *out) {
    float sign[TILE], divisor[TILE];
    uint32_t largest = 0;
    for (size_t start = 0; start < numbers; start += TILE) {
        size_t here = numbers - start < TILE ? numbers - start : TILE;
        float *total = out + start;
        for (size_t i = 0; i < here; i++) sign[i] = deltas[0][start + i] * weights[0];
        for (int m = 1; m < count; m++)
            for (size_t i = 0; i < here; i++) sign[i] += deltas[m][start + i] * weights[m];
        for (size_t i = 0; i < here; i++) {
            sign[i] = sign[i] >= 0 ? 1.0f : -1.0f;
            total[i] = divisor[i] = 0;
        }
        for (int m = 0; m < count; m++) {
            float weight = weights[m];
            for (size_t i = 0; i < here; i++) {
                float agreeing = deltas[m][start + i] * weight * sign[i];
                total[i] += agreeing < 0 ? 0 : agreeing;
                divisor[i] += agreeing > 0 ? weight : 0;
            }
        }
        if (normalize)
            for (size_t i = 0; i < here; i++) total[i] /= divisor[i] == 0 ? 1.0f : divisor[i];
        for (size_t i = 0; i < here; i++) {
            total[i] *= sign[i];
            uint32_t size = bits_of(total[i]) & 0x7fffffffu;
            largest = size > largest ? size : largest;
        }
    }
    return largest < NONFINITE_FROM;
}

/* rank_mask.rank_mask: which of `numbers` numbers, whole rows of `columns`, are kept. Without branches, which no
 * processor could guess: in the place of the first magnitude of each ordered row, which no rank asks for, comes one
 * that every magnitude reaches. */
FOR_EACH_PROCESSOR
void rank_mask(const uint32_t *words, const int32_t *magnitudes, int32_t *ordered, size_t columns, size_t numbers,
               uint32_t low, uint32_t high, uint32_t factor, int shift, uint8_t *kept) {
    uint32_t places[TILE], span = high - low;
    for (size_t row = 0; row < numbers; row += columns) {
        const int32_t *limits = ordered + row;
        ordered[row] = INT32_MIN;
        for (size_t start = row; start < row + columns; start += TILE) {
            size_t count = row + columns - start < TILE ? row + columns - start : TILE;
            for (size_t i = 0; i < count; i++) {
                uint32_t above_low = words[start + i] - low;
                uint32_t rank = (uint32_t)((uint64_t)above_low * factor >> shift);
                places[i] = above_low < span ? rank + 1 : 0;
            }
            for (size_t i = 0; i < count; i++) kept[start + i] = words[start + i] < high;
            for (size_t i = 0; i < count; i++) kept[start + i] &= magnitudes[start + i] >= limits[places[i]];
        }
    }
}
