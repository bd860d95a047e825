// What a warp's lanes do together, by the layouts that the PTX ISA publishes ("Warp-level matrix instructions").
#pragma once

#include "emulator.h"

namespace ft_host {

inline float half_at(Meeting kind, uint32_t word, int which) {
    const auto bits = static_cast<uint16_t>(which == 0 ? word : word >> 16);
    return kind == Meeting::MmaBf16 ? to_float(bf16{bits}) : to_float(f16{bits});
}

// c += a b with b given by rows, [k][8]; sums in f32, from the first k to the last.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("avx2", "default")))
#endif
static void
multiply(float (*c)[8], const float *a, const float (*b)[8], int k) {
    for (int row = 0; row < 16; ++row) {
        float sum[8];
        for (int column = 0; column < 8; ++column) {
            sum[column] = c[row][column];
        }
        for (int i = 0; i < k; ++i) {
            const float factor = a[row * k + i];
            for (int column = 0; column < 8; ++column) {
                sum[column] += factor * b[i][column];
            }
        }
        for (int column = 0; column < 8; ++column) {
            c[row][column] = sum[column];
        }
    }
}

// mma.m16n8k16 and mma.m16n8k8.tf32: lane l is in group l / 4, of which it is member l % 4.
inline void mma(Meeting kind, Lane *const *lanes) {
    const bool wide = kind == Meeting::MmaTf32;
    const int k = wide ? 8 : 16;
    float a[16 * 16], b[16][8], c[16][8];
    for (int l = 0; l < 32; ++l) {
        const int group = l / 4, member = l % 4;
        const Lane &lane = *lanes[l];
        for (int i = 0; i < 4; ++i) {
            // Registers 1 and 3 hold the lower eight rows, 2 and 3 the second half of the columns.
            const int row = group + (i % 2) * 8;
            if (wide) {
                a[row * k + member + (i / 2) * 4] = float_of(lane.a[i] & ~0x1fffu);
            } else {
                const int column = member * 2 + (i / 2) * 8;
                a[row * k + column] = half_at(kind, lane.a[i], 0);
                a[row * k + column + 1] = half_at(kind, lane.a[i], 1);
            }
            c[group + (i / 2) * 8][member * 2 + i % 2] = lane.c[i];
        }
        for (int i = 0; i < 2; ++i) {
            if (wide) {
                b[member + i * 4][group] = float_of(lane.b[i] & ~0x1fffu);
            } else {
                b[member * 2 + i * 8][group] = half_at(kind, lane.b[i], 0);
                b[member * 2 + i * 8 + 1][group] = half_at(kind, lane.b[i], 1);
            }
        }
    }
    multiply(c, a, b, k);
    for (int l = 0; l < 32; ++l) {
        for (int i = 0; i < 4; ++i) {
            lanes[l]->c[i] = c[l / 4 + (i / 2) * 8][(l % 4) * 2 + i % 2];
        }
    }
}

// ldmatrix.x4. Eight rows of 16 bytes are read at once: where two of them lie in the same banks, one waits.
inline const char *ldmatrix(bool transposed, Lane *const *lanes, const unsigned char *shared, size_t bytes,
                            uint64_t *conflicts) {
    uint16_t elements[4][8][8];
    for (int matrix = 0; matrix < 4; ++matrix) {
        unsigned used = 0;
        for (int row = 0; row < 8; ++row) {
            const auto *from = static_cast<const unsigned char *>(lanes[matrix * 8 + row]->row);
            if (reinterpret_cast<uintptr_t>(from) % 16 != 0 || from < shared || from + 16 > shared + bytes) {
                return "ldmatrix of what is no 16 aligned bytes of shared memory";
            }
            memcpy(elements[matrix][row], from, 16);
            const unsigned banks = 1u << ((from - shared) / 16 % 8);
            *conflicts += (used & banks) != 0;
            used |= banks;
        }
    }
    for (int l = 0; l < 32; ++l) {
        for (int matrix = 0; matrix < 4; ++matrix) {
            const auto &m = elements[matrix];
            const int own = l / 4, pair = l % 4 * 2;
            const uint32_t low = transposed ? m[pair][own] : m[own][pair];
            const uint32_t high = transposed ? m[pair + 1][own] : m[own][pair + 1];
            lanes[l]->matrix[matrix] = low | high << 16;
        }
    }
    return nullptr;
}

inline const char *instruction(Meeting kind, Lane *const *lanes, const unsigned char *shared, size_t bytes,
                               uint64_t *conflicts) {
    switch (kind) {
    case Meeting::ShuffleXor:
    case Meeting::Shuffle:
        for (int l = 0; l < 32; ++l) {
            const int other = kind == Meeting::Shuffle ? lanes[l]->number : l ^ lanes[l]->number;
            lanes[l]->out = lanes[other % 32]->in;
        }
        return nullptr;
    case Meeting::LdMatrix:
    case Meeting::LdMatrixTrans:
        return ldmatrix(kind == Meeting::LdMatrixTrans, lanes, shared, bytes, conflicts);
    default:
        mma(kind, lanes);
        return nullptr;
    }
}

} // namespace ft_host
