/* The arithmetic of combination.py and number_format.py in one pass over memory, to the same bits.
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

#define TILE 2048

/* combination.STRETCH, and the numbers that numpy's pairwise sum adds up in eight rows before it goes by pairs. */
#define STRETCH 4096
#define PAIRWISE_BLOCK 128

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

/* Stores `count` numbers from `start` on and returns the largest bit pattern among them, signs left out. */
INLINE uint32_t narrowed(const float *numbers, void *out, int out_kind, size_t start, size_t count) {
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = bits_of(numbers[i]), size = bits & 0x7fffffffu;
        largest = size > largest ? size : largest;
        if (out_kind == FLOAT32)
            ((float *)out)[start + i] = numbers[i];
        else
            ((uint16_t *)out)[start + i] = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    }
    return largest;
}

INLINE int summed(const void *const *inputs, const float *shares, int inputs_count, const void *pivot, int kind,
                  void *out, int out_kind, size_t numbers) {
    float total[TILE];
    uint32_t largest = 0;
    for (size_t start = 0; start < numbers; start += TILE) {
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
        uint32_t largest_here = narrowed(total, out, out_kind, start, count);
        largest = largest_here > largest ? largest_here : largest;
    }
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

/* The sum of left * right over one stretch, in the order of numpy's pairwise sum. */
INLINE float product_sum(const float *left, const float *right) {
    float sums[STRETCH / PAIRWISE_BLOCK];
    for (size_t block = 0; block < STRETCH / PAIRWISE_BLOCK; block++) {
        const float *a = left + block * PAIRWISE_BLOCK, *b = right + block * PAIRWISE_BLOCK;
        float rows[8];
        for (size_t j = 0; j < 8; j++) rows[j] = a[j] * b[j];
        for (size_t i = 8; i < PAIRWISE_BLOCK; i += 8)
            for (size_t j = 0; j < 8; j++) rows[j] += a[i + j] * b[i + j];
        sums[block] = ((rows[0] + rows[1]) + (rows[2] + rows[3])) + ((rows[4] + rows[5]) + (rows[6] + rows[7]));
    }
    for (size_t left_over = STRETCH / PAIRWISE_BLOCK; left_over > 1; left_over /= 2)
        for (size_t i = 0; i < left_over / 2; i++) sums[i] = sums[2 * i] + sums[2 * i + 1];
    return sums[0];
}

/* For every pair of inputs, (0,0), (0,1), ..., (1,1), ..., the sums of their products over each of `stretches`
 * stretches, pair after pair in `out`. With a pivot, of inputs less the pivot. `room` holds one stretch per input. */
FOR_EACH_PROCESSOR
void product_sums(const void *const *inputs, int inputs_count, const void *pivot, int kind, size_t stretches,
                  float *room, float *out) {
    for (size_t stretch = 0; stretch < stretches; stretch++) {
        size_t start = stretch * STRETCH;
        for (int m = 0; m < inputs_count; m++) {
            float *own = room + (size_t)m * STRETCH;
            for (size_t i = 0; i < STRETCH; i++) own[i] = number_at(inputs[m], kind, start + i);
            if (pivot)
                for (size_t i = 0; i < STRETCH; i++) own[i] -= number_at(pivot, kind, start + i);
        }
        size_t pair = 0;
        for (int row = 0; row < inputs_count; row++)
            for (int column = row; column < inputs_count; column++)
                out[pair++ * stretches + stretch] =
                    product_sum(room + (size_t)row * STRETCH, room + (size_t)column * STRETCH);
    }
}
