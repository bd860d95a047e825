// What device.cuh needs, on the host: a block's threads are fibers of one thread of the machine, which take turns only
// where a GPU's threads would meet or could be seen to differ (a barrier, a warp's instruction, an asynchronous copy's
// wait), in an order that a seed shuffles. See emulator.cpp.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <type_traits>

#define __global__
#define __launch_bounds__(...)
#define FT_DEVICE inline

struct Dim3 {
    uint32_t x, y, z;
};
// Of the fiber that runs.
extern __thread Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace ft_host {

// What a warp's lanes do together; all 32 come with the same one.
enum class Meeting { ShuffleXor, Shuffle, LdMatrix, LdMatrixTrans, MmaBf16, MmaF16, MmaTf32 };

struct Lane {
    // Arguments and results of a meeting; what they are, its kind says.
    uint64_t in;
    uint64_t out;
    int number;
    const void *row;
    uint32_t *matrix;
    float *c;
    const uint32_t *a;
    uint32_t b[2];
};

void meet(Meeting kind, Lane &lane);
void barrier();
unsigned char *dynamic_shared();
void *static_shared(const void *site, size_t bytes, size_t alignment);
void check_access(const void *address, size_t bytes, size_t alignment, bool written);
void copy_later(void *to, const void *from, bool there);
void copy_commit();
void copy_wait(int left);
[[noreturn]] void fail(const char *what);

// A kernel that Rust can call by its name: `call` unpacks the arguments.
struct Kernel {
    const char *name;
    void (*call)(void *const *arguments);
    const size_t *sizes;
    size_t count;
    Kernel *next;
};
void add_kernel(Kernel *kernel);

template <typename Function> struct Caller;
template <typename... Args> struct Caller<void (*)(Args...)> {
    static constexpr size_t sizes[sizeof...(Args)] = {sizeof(Args)...};
    template <void (*function)(Args...), size_t... I>
    static void unpack(void *const *arguments, std::integer_sequence<size_t, I...>) {
        function(*static_cast<std::remove_reference_t<Args> *>(arguments[I])...);
    }
    template <void (*function)(Args...)> static void call(void *const *arguments) {
        unpack<function>(arguments, std::make_integer_sequence<size_t, sizeof...(Args)>());
    }
    static constexpr size_t count = sizeof...(Args);
};

struct Register {
    Kernel kernel;
    Register(const char *name, void (*call)(void *const *), const size_t *sizes, size_t count)
        : kernel{name, call, sizes, count, nullptr} {
        add_kernel(&kernel);
    }
};

} // namespace ft_host

#define FT_KERNEL(name)                                                                                                \
    static ft_host::Register ft_register_##name(#name, &ft_host::Caller<decltype(&name)>::call<&name>,                 \
                                                ft_host::Caller<decltype(&name)>::sizes,                               \
                                                ft_host::Caller<decltype(&name)>::count);
// Something of the file that the table of files (build.rs) asks for, so that the linker takes the file.
#define FT_MODULE(name)                                                                                                \
    extern "C" {                                                                                                       \
    int ft_module_##name = 0;                                                                                          \
    }
#define FT_SHARED(type, name, count)                                                                                   \
    static const char ft_site_##name = 0;                                                                              \
    type *const name = static_cast<type *>(ft_host::static_shared(&ft_site_##name, sizeof(type) * (count), alignof(type)))

inline unsigned char *shared_memory() { return ft_host::dynamic_shared(); }
inline void sync() { ft_host::barrier(); }

template <typename T> inline T meet_value(ft_host::Meeting kind, T value, int number) {
    static_assert(sizeof(T) <= 8);
    ft_host::Lane lane{};
    memcpy(&lane.in, &value, sizeof(T));
    lane.number = number;
    ft_host::meet(kind, lane);
    memcpy(&value, &lane.out, sizeof(T));
    return value;
}
inline float shuffle_xor(float value, int bits) { return meet_value(ft_host::Meeting::ShuffleXor, value, bits); }
inline uint32_t shuffle_xor(uint32_t value, int bits) { return meet_value(ft_host::Meeting::ShuffleXor, value, bits); }
inline double shuffle_xor(double value, int bits) { return meet_value(ft_host::Meeting::ShuffleXor, value, bits); }
inline float shuffle(float value, int lane) { return meet_value(ft_host::Meeting::Shuffle, value, lane); }
inline double shuffle(double value, int lane) { return meet_value(ft_host::Meeting::Shuffle, value, lane); }

template <typename T> inline T load(const T *from) {
    ft_host::check_access(from, sizeof(T), alignof(T), false);
    return *from;
}
template <typename T> inline void store(T *to, T value) {
    ft_host::check_access(to, sizeof(T), alignof(T), true);
    *to = value;
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void *row) {
    ft_host::Lane lane{};
    lane.row = row;
    lane.matrix = r;
    ft_host::meet(ft_host::Meeting::LdMatrix, lane);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row) {
    ft_host::Lane lane{};
    lane.row = row;
    lane.matrix = r;
    ft_host::meet(ft_host::Meeting::LdMatrixTrans, lane);
}

inline void cp_async16(void *to, const void *from, bool there) { ft_host::copy_later(to, from, there); }
inline void cp_async_commit() { ft_host::copy_commit(); }
template <int N> inline void cp_async_wait() { ft_host::copy_wait(N); }

inline void meet_mma(ft_host::Meeting kind, float *c, const uint32_t *a, uint32_t b0, uint32_t b1) {
    ft_host::Lane lane{};
    lane.c = c;
    lane.a = a;
    lane.b[0] = b0;
    lane.b[1] = b1;
    ft_host::meet(kind, lane);
}
template <typename T> inline void mma_16816(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    constexpr bool brain = std::is_same_v<T, bf16>;
    meet_mma(brain ? ft_host::Meeting::MmaBf16 : ft_host::Meeting::MmaF16, c, a, b0, b1);
}
inline void mma_1688_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    meet_mma(ft_host::Meeting::MmaTf32, c, a, b0, b1);
}
// To the nearest, away from zero where two are as near, as cvt.rna does.
inline uint32_t to_tf32(float x) { return (bits_of(x) + 0x1000u) & ~0x1fffu; }

inline float exp2_fast(float x) { return exp2f(x); }

inline float mul(float a, float b) { return a * b; }
inline float add(float a, float b) { return a + b; }
inline float sub(float a, float b) { return a - b; }
inline float divide(float a, float b) { return a / b; }
inline float root(float a) { return sqrtf(a); }
inline double add(double a, double b) { return a + b; }
inline double mul(double a, double b) { return a * b; }
inline uint32_t mul_high(uint32_t a, uint32_t b) {
    return static_cast<uint32_t>((static_cast<uint64_t>(a) * b) >> 32);
}
