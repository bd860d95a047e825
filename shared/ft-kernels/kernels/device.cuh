// The hardware that kernels touch, all of it: blocks and threads, barriers, shuffles, asynchronous copies, matrix
// instructions, and loads and stores of memory that other launches share. On a GPU each is an instruction or two; in a
// build for the host (feature cuda-host) host/emulator.h gives the same names.
//
// Kernels read and write global memory through `load` and `store` alone, so that the host can check every access.
#pragma once

#include <cstdint>

#include "numbers.cuh"

#ifdef __CUDACC__

#define FT_DEVICE __device__ __forceinline__
#define FT_KERNEL(name)
#define FT_MODULE(name)
// An array in the block's shared memory, of a size known beforehand.
#define FT_SHARED(type, name, count) __shared__ type name[count]

constexpr uint32_t FULL_WARP = 0xffffffffu;

// The block's dynamic shared memory, aligned to 16 bytes.
FT_DEVICE unsigned char *shared_memory() {
    extern __shared__ __align__(16) unsigned char ft_dynamic_shared[];
    return ft_dynamic_shared;
}

// All threads of the block meet.
FT_DEVICE void sync() { __syncthreads(); }

// The value of the lane whose number differs by these bits; all 32 lanes of the warp take part.
FT_DEVICE float shuffle_xor(float value, int bits) { return __shfl_xor_sync(FULL_WARP, value, bits); }
FT_DEVICE uint32_t shuffle_xor(uint32_t value, int bits) { return __shfl_xor_sync(FULL_WARP, value, bits); }
FT_DEVICE double shuffle_xor(double value, int bits) { return __shfl_xor_sync(FULL_WARP, value, bits); }
// The value of this lane.
FT_DEVICE float shuffle(float value, int lane) { return __shfl_sync(FULL_WARP, value, lane); }
FT_DEVICE double shuffle(double value, int lane) { return __shfl_sync(FULL_WARP, value, lane); }

// Loads and stores of global memory, at the type's own alignment.
template <typename T> FT_DEVICE T load(const T *from) { return *from; }
template <typename T> FT_DEVICE void store(T *to, T value) { *to = value; }

FT_DEVICE uint32_t shared_address(const void *p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Four matrices of 8 rows of 16 bytes in shared memory: lane i says where row i % 8 of matrix i / 8 is. Lane i gets
// elements 2 (i % 4) and 2 (i % 4) + 1 of row i / 4 of each; transposed, of column i / 4.
FT_DEVICE void ldmatrix_x4(uint32_t (&r)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
FT_DEVICE void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// 16 bytes from global into shared memory, or 16 zeros where they are not `there`; done when `cp_async_wait` says so.
FT_DEVICE void cp_async16(void *to, const void *from, bool there) {
    const int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
}
// Closes a group of this thread's copies.
FT_DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most the last N of this thread's groups are under way. Other threads' copies need `sync` too.
template <int N> FT_DEVICE void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// c += a b of 16 x 16 and 16 x 8 elements, a by rows and b by columns, sums in f32 (PTX: mma.m16n8k16).
template <typename T> FT_DEVICE void mma_16816(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <> FT_DEVICE void mma_16816<bf16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> FT_DEVICE void mma_16816<f16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// c += a b of 16 x 8 and 8 x 8 f32 of which 10 bits behind the point count (PTX: mma.m16n8k8.tf32).
FT_DEVICE void mma_1688_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// An f32 rounded to 10 bits behind the point.
FT_DEVICE uint32_t to_tf32(float x) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

// 2^x, with the special function unit.
FT_DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// One operation, one rounding, never contracted: where bits must be those of the CPU's operators.
FT_DEVICE float mul(float a, float b) { return __fmul_rn(a, b); }
FT_DEVICE float add(float a, float b) { return __fadd_rn(a, b); }
FT_DEVICE float sub(float a, float b) { return __fsub_rn(a, b); }
FT_DEVICE float divide(float a, float b) { return __fdiv_rn(a, b); }
FT_DEVICE float root(float a) { return __fsqrt_rn(a); }
FT_DEVICE float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
FT_DEVICE double add(double a, double b) { return __dadd_rn(a, b); }
FT_DEVICE double mul(double a, double b) { return __dmul_rn(a, b); }
// The upper half of a product.
FT_DEVICE uint32_t mul_high(uint32_t a, uint32_t b) { return __umulhi(a, b); }

#else

#include "host/emulator.h"

#endif

// N elements that are loaded and stored at once, 16 bytes of them or one.
template <typename T, int N> struct alignas(sizeof(T) * N) Pack {
    T x[N];
};

// The elements of a pack as f32, and back, rounded to the nearest even.
template <typename T, int N> FT_DEVICE void load_floats(float (&to)[N], const T *from) {
    const Pack<T, N> pack = load(reinterpret_cast<const Pack<T, N> *>(from));
#pragma unroll
    for (int i = 0; i < N; ++i) {
        to[i] = to_float(pack.x[i]);
    }
}
template <typename T, int N> FT_DEVICE void store_floats(T *to, const float (&from)[N]) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) {
        pack.x[i] = from_float<T>(from[i]);
    }
    store(reinterpret_cast<Pack<T, N> *>(to), pack);
}

// Elements of 16 bytes.
template <typename T> constexpr int WIDE = 16 / sizeof(T);

// The sum over the warp's lanes, the same bits in each: a butterfly of five steps.
FT_DEVICE float warp_sum(float x) {
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
        x += shuffle_xor(x, bits);
    }
    return x;
}
FT_DEVICE float warp_max(float x) {
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
        x = fmaxf(x, shuffle_xor(x, bits));
    }
    return x;
}
