// Kernels with faults, each of which the emulation must find; for its tests alone.

#include "../device.cuh"

FT_MODULE(wrong)

// Reads its neighbour's number without a barrier.
extern "C" __global__ void ft_wrong_race(float *y) {
    FT_SHARED(float, numbers, 64);
    numbers[threadIdx.x] = static_cast<float>(threadIdx.x);
    store(y + threadIdx.x, numbers[(threadIdx.x + 1) % 64]);
}
FT_KERNEL(ft_wrong_race)

// The same as it ought to be.
extern "C" __global__ void ft_right_race(float *y) {
    FT_SHARED(float, numbers, 64);
    numbers[threadIdx.x] = static_cast<float>(threadIdx.x);
    sync();
    store(y + threadIdx.x, numbers[(threadIdx.x + 1) % 64]);
}
FT_KERNEL(ft_right_race)

// Uses what an asynchronous copy brings before it waits for it.
extern "C" __global__ void ft_wrong_wait(const float *x, float *y) {
    float *tile = reinterpret_cast<float *>(shared_memory());
    cp_async16(tile + threadIdx.x * 4, x + threadIdx.x * 4, true);
    cp_async_commit();
    sync();
    store(y + threadIdx.x, tile[threadIdx.x]);
    cp_async_wait<0>();
}
FT_KERNEL(ft_wrong_wait)

// Refills a buffer that other threads still read.
extern "C" __global__ void ft_wrong_refill(const float *x, float *y) {
    float *tile = reinterpret_cast<float *>(shared_memory());
    for (int turn = 0; turn < 2; ++turn) {
        cp_async16(tile + threadIdx.x * 4, x + turn * 128 + threadIdx.x * 4, true);
        cp_async_commit();
        cp_async_wait<0>();
        sync();
        store(y + turn * 32 + threadIdx.x, tile[127 - threadIdx.x]);
    }
}
FT_KERNEL(ft_wrong_refill)

// One element too far.
extern "C" __global__ void ft_wrong_bounds(const float *x, float *y) {
    store(y + threadIdx.x, load(x + threadIdx.x + 1));
}
FT_KERNEL(ft_wrong_bounds)

// A wide access at an odd place.
extern "C" __global__ void ft_wrong_alignment(const float *x, float *y) {
    const Pack<float, 4> pack = load(reinterpret_cast<const Pack<float, 4> *>(x + 1));
    store(y + threadIdx.x, pack.x[0]);
}
FT_KERNEL(ft_wrong_alignment)

// Half of a warp stays away from its shuffle.
extern "C" __global__ void ft_wrong_divergence(float *y) {
    float value = 1.0f;
    if (threadIdx.x < 16) {
        value += shuffle_xor(value, 1);
    } else {
        sync();
    }
    store(y + threadIdx.x, value);
}
FT_KERNEL(ft_wrong_divergence)

// Writes behind its shared array.
extern "C" __global__ void ft_wrong_shared(float *y) {
    FT_SHARED(float, numbers, 32);
    numbers[threadIdx.x + 1] = 1.0f;
    sync();
    store(y + threadIdx.x, numbers[threadIdx.x]);
}
FT_KERNEL(ft_wrong_shared)

// One tile's product by each matrix instruction, from matrices of 16 x 16 and 16 x 8 by rows in shared memory, through
// ldmatrix; y is 16 x 8. Right, and so that its result can be held to a plain product.
template <typename T> FT_DEVICE void tile_product(const T *a, const T *b, float *y) {
    T *tile = reinterpret_cast<T *>(shared_memory());
    const int lane = threadIdx.x;
    for (int i = lane; i < 16 * 16; i += 32) {
        tile[i / 16 * 24 + i % 16] = load(a + i);
    }
    // b with a pad: 8 columns of 16 and rows that are not there.
    for (int i = lane; i < 16 * 8; i += 32) {
        tile[16 * 24 + i / 8 * 24 + i % 8] = load(b + i);
        tile[16 * 24 + i / 8 * 24 + i % 8 + 8] = T{0};
    }
    sync();
    uint32_t left[4], right[4];
    ldmatrix_x4(left, tile + lane % 16 * 24 + lane / 16 * 8);
    ldmatrix_x4_trans(right, tile + 16 * 24 + lane % 16 * 24 + lane / 16 * 8);
    float c[4] = {0, 0, 0, 0};
    mma_16816<T>(c, left, right[0], right[1]);
    for (int i = 0; i < 4; ++i) {
        store(y + (lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2, c[i]);
    }
}
extern "C" __global__ void ft_right_mma_bf16(const bf16 *a, const bf16 *b, float *y) { tile_product(a, b, y); }
FT_KERNEL(ft_right_mma_bf16)
extern "C" __global__ void ft_right_mma_f16(const f16 *a, const f16 *b, float *y) { tile_product(a, b, y); }
FT_KERNEL(ft_right_mma_f16)

// The same in TF32, of 16 x 8 and 8 x 8.
extern "C" __global__ void ft_right_mma_tf32(const float *a, const float *b, float *y) {
    const int group = threadIdx.x / 4, member = threadIdx.x % 4;
    uint32_t left[4];
    for (int i = 0; i < 4; ++i) {
        left[i] = to_tf32(load(a + (group + i % 2 * 8) * 8 + member + i / 2 * 4));
    }
    const uint32_t b0 = to_tf32(load(b + member * 8 + group)), b1 = to_tf32(load(b + (member + 4) * 8 + group));
    float c[4] = {0, 0, 0, 0};
    mma_1688_tf32(c, left, b0, b1);
    for (int i = 0; i < 4; ++i) {
        store(y + (group + i / 2 * 8) * 8 + member * 2 + i % 2, c[i]);
    }
}
FT_KERNEL(ft_right_mma_tf32)
