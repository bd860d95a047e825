// What kernels over rows share: walking along a row, and sums over a block's threads in one order.
#pragma once

#include "device.cuh"

// A number that the compiler knows.
template <int N> struct Count {
    static constexpr int value = N;
};

// Calls `work(Count<N>, i)` for elements i to i + N - 1 of a row, of which this thread has its share: 16 bytes at once
// where a row is whole such packs, else one. Which it is, the row's length alone decides, so a row's sums do too.
template <typename T, typename Work> FT_DEVICE void along_row(int columns, int thread, int threads, Work work) {
    if (columns % WIDE<T> == 0) {
        for (int i = thread * WIDE<T>; i < columns; i += threads * WIDE<T>) {
            work(Count<WIDE<T>>{}, i);
        }
    } else {
        for (int i = thread; i < columns; i += threads) {
            work(Count<1>{}, i);
        }
    }
}

constexpr int MOST_WARPS = 32;

// Sums over the block's threads, the same bits in each: over each warp, and then over the warps in their order. All
// threads come, and the block is whole warps.
template <int N> FT_DEVICE void block_sums(float (&x)[N]) {
    FT_SHARED(float, ft_sums, N * MOST_WARPS);
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
    for (int n = 0; n < N; ++n) {
        x[n] = warp_sum(x[n]);
    }
    if (warps == 1) {
        return;
    }
    // Another call's sums may still be read.
    sync();
    if (threadIdx.x % 32 == 0) {
#pragma unroll
        for (int n = 0; n < N; ++n) {
            ft_sums[n * MOST_WARPS + warp] = x[n];
        }
    }
    sync();
#pragma unroll
    for (int n = 0; n < N; ++n) {
        float sum = ft_sums[n * MOST_WARPS];
        for (int i = 1; i < warps; ++i) {
            sum += ft_sums[n * MOST_WARPS + i];
        }
        x[n] = sum;
    }
}
